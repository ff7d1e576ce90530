"""What is wanted for a guest's processes, and what has come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from qsup.scope.ground import Way

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from qsup.spec.tables.limits import Limits


class Wish(NamedTuple):
    """A guest that is to have a scope."""

    guest: str
    description: str
    uuid: UUID
    limits: Limits
    disks: Mapping[str, str]
    """The files of its disks, by their ids."""
    patience: float
    """Seconds within which it is down after it was asked to stop."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Where a guest's processes are; a part of the record of its launch."""

    way: Way
    name: str
    """Of the unit; without systemd, of the cgroup."""
    directory: str | None = None
    """Where the cgroup is in the unified hierarchy, if there is one."""

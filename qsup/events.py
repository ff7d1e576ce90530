"""What qsup announces: one immutable event for everything that an operator may want to know.

The names follow QMP's habit, and so does the shape on the wire (``docs/interop/qmp-spec`` of QEMU)::

    {"event": "GUEST_PHASE", "data": {"name": "web1", …}, "timestamp": {"seconds": …, "microseconds": …}}
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """The names of all events."""

    PHASE = "GUEST_PHASE"
    """``name, phase, was, ready`` and, where there is one, ``reason``: a guest came to another phase."""
    ENDED = "GUEST_ENDED"
    """``name, cause, detail, status, ran, decision, stopped-by``: a guest's run ended, and what follows from it."""
    STATUS = "GUEST_EXIT_STATUS"
    """``name, status``: the exit status of a run that ended earlier became known."""
    NOTICE = "GUEST_NOTICE"
    """``name, message``: something about a guest that changes no phase."""
    SPEC = "GUEST_SPEC"
    """``name, change, paths``: ``added``, ``changed`` or ``removed`` a file; ``forgotten`` a guest without one."""
    RELOADED = "CONFIG_RELOADED"
    """``added, changed, removed, problems``: the configuration was read again."""


class Event(msgspec.Struct, frozen=True):
    """One event: ``at`` is wall time in seconds, ``data`` its JSON object, ``seq`` counts since the daemon started."""

    seq: int
    at: float
    kind: Kind
    data: dict[str, Any]

    @property
    def guest(self) -> str | None:
        """The name of the guest that it is about, if it is about one."""
        name = self.data.get("name")
        return name if isinstance(name, str) else None

    def wire(self) -> dict[str, Any]:
        """The event as a QMP client expects it."""
        return wire(self.kind.value, self.data, self.at)


def wire(kind: str, data: Mapping[str, Any], at: float) -> dict[str, Any]:
    """An event of any kind as a QMP client expects it."""
    seconds = int(at)
    micro = int((at - seconds) * 1_000_000)
    return {"event": kind, "data": data, "timestamp": {"seconds": seconds, "microseconds": micro}}

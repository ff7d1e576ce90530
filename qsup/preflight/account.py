"""Whom a guest's QEMU is to run as: what the files say, on this host and for this daemon."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsup.errors import LaunchError
from qsup.proc.account import nameless, of_user
from qsup.spec.tables.qemu import uid_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.proc.account import Account
    from qsup.spec.model import GuestSpec

USUAL: Final = "qsup-qemu"
"""Who runs QEMUs for a daemon of root if nothing else is said, and if there is such a user."""


def runs_as(spec: GuestSpec, usual: str | None, own: Callable[[range], int]) -> Account | None:
    """The user of a guest's QEMU; None for the daemon's own. Raises LaunchError if it cannot be as the files say.

    ``usual`` is what ``qsup.toml`` says of guests whose files say nothing, ``own`` chooses a number out of a range.
    """
    wanted = spec.qemu.user or usual
    if os.geteuid() != 0:
        _must_be_ours(wanted)
        return None
    if wanted is None:
        try:
            return of_user(USUAL)
        except LaunchError:
            return None
    numbers = uid_range(wanted)
    account = of_user(wanted) if numbers is None else nameless(own(numbers))
    return None if account.uid == 0 else account


def _must_be_ours(wanted: str | None) -> None:
    """Without root's rights there is one user only."""
    if wanted is not None and (uid_range(wanted) or of_user(wanted).uid != os.geteuid()):
        raise LaunchError(
            f"qemu.user: this daemon is not root's, so QEMU runs as its own user and not as {wanted}; remove the key"
        )

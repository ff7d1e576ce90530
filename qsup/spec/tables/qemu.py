"""The QEMU that runs the guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, HostPath, Section, Text, about, form, within
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


LAST_UID: Final = (1 << 32) - 2
"""The highest number that a user can have."""
_RANGE: Final = re.compile(r"(\d{1,10})-(\d{1,10})")
RUN_AS: Final = form(
    r"^([a-z_][a-z0-9_.-]{0,31}|[0-9]{1,10}(-[0-9]{1,10})?)$(?!\n)",
    'a user is a name, a number, or a range of numbers such as "70000-70999"',
)
"""One user, or many that each have one guest."""


class Qemu(Section, frozen=True, kw_only=True):
    """The QEMU that runs the guest."""

    binary: Annotated[HostPath | None, about("The binary; without it the `qemu-binary` of qsup.toml.")] = None
    args: Annotated[
        tuple[Text, ...],
        about(
            "Arguments added as they are, one string each, for what qsup has no key for. Those that would break supervision are refused.",
            max_length=256,
        ),
    ] = ()
    files: Annotated[
        tuple[HostPath, ...],
        about(
            "Files and directories that `args` name, to which QEMU's user is to have access, to read and to write; an empty file is made where there is none.",
            max_length=256,
        ),
    ] = ()
    user: Annotated[
        Annotated[str, RUN_AS] | None,
        about(
            "The user that QEMU runs as, by name or number, or a range of numbers, `70000-70999`, of which the guest gets one for itself. Without it the `qemu-user` of qsup.toml."
        ),
    ] = None
    private_mounts: Annotated[
        bool,
        about(
            "Whether QEMU finds `/home`, `/root`, `/run/user`, `/srv`, `/tmp` and `/var/tmp` empty, each where nothing of the guest lies there: in a mount namespace of its own."
        ),
    ] = False
    start_timeout: Annotated[
        Duration, about("How long QEMU may take from its start to its first QMP answer.")
    ] = Duration.parse("30 s")

    def wrong(self) -> Iterator[Finding]:
        """A wait that makes no sense."""
        yield from within("start-timeout", self.start_timeout, "100 ms", "1 d")
        if self.user is not None:
            yield from wrong_user("user", self.user)


def uid_range(user: str) -> range | None:
    """The numbers of a range; None for the name or the number of one user."""
    match = _RANGE.fullmatch(user)
    return None if match is None else range(int(match[1]), int(match[2]) + 1)


def wrong_user(key: str, user: str) -> Iterator[Finding]:
    """A range that is none, or one with numbers that nobody can have, or root has."""
    numbers = uid_range(user) or (range(int(user), int(user) + 1) if user.isdecimal() else None)
    if numbers is None:
        return
    if not numbers:
        yield (key,), f"{user} is no range: its end is before its beginning"
    elif numbers[-1] > LAST_UID or (len(numbers) > 1 and numbers[0] == 0):
        yield (key,), f"{user} is out of range; allowed: 1 to {LAST_UID}"

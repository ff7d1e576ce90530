"""`[qemu] args`: what qsup has no key for, passed as it is, unless it would break supervision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import Option
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsup.argv.draft import Draft

_DETACHES: Final = "the process that qsup waits for would not be QEMU"
_LIFE: Final = "what happens at an end of the guest is decided by [restart]"
_MONITOR: Final = "a second monitor could change the guest unseen; qsup has its own"
_TERMINAL: Final = "it puts a monitor or a screen on a terminal, and there is none"
_PRIVILEGES: Final = "QEMU's privileges and its sandbox are set by qsup"
_UNSEEN: Final = "options in a file cannot be checked; put them into qemu.args"
_EXITS: Final = "QEMU would print something and exit"
_LOG: Final = "qsup reads QEMU's log where it has put it"
_ACCEL: Final = "it is set by machine.accel"

REFUSED: Final = {
    "daemonize": _DETACHES,
    "pidfile": "qsup identifies QEMU by more than a pid in a file",
    "name": "the guest's name is that of its file",
    "S": "qsup starts every guest with -S and lets it run itself",
    "incoming": "the guest would wait for a migration that nobody has started",
    "preconfig": "QEMU would wait for commands that qsup does not send",
    "action": _LIFE,
    "no-shutdown": _LIFE,
    "no-reboot": _LIFE,
    "mon": _MONITOR,
    "monitor": _MONITOR,
    "qmp": _MONITOR,
    "qmp-pretty": _MONITOR,
    "nographic": _TERMINAL,
    "curses": _TERMINAL,
    "runas": _PRIVILEGES,
    "run-with": _PRIVILEGES,
    "chroot": _PRIVILEGES,
    "sandbox": _PRIVILEGES,
    "readconfig": _UNSEEN,
    "writeconfig": _EXITS,
    "help": _EXITS,
    "h": _EXITS,
    "version": _EXITS,
    "d": _LOG,
    "D": _LOG,
    "accel": _ACCEL,
    "enable-kvm": _ACCEL,
}
"""Options of QEMU, without their hyphens, that no guest file may add, and why.

What merely repeats qsup's own choice (`-nodefaults`) or adds to it (`-machine`, `-smp`, `-cpu`, `-global`) is let
through: QEMU refuses what clashes, and the guest's owner may do what he likes to the guest.
"""


def check_args(args: Sequence[str]) -> list[str]:
    """What speaks against these arguments, a sentence each; empty if nothing does.

    Every word counts as an option, even where QEMU would take it for the value of the one before: whoever
    reads the file should not have to tell. QEMU reads ``--x`` like ``-x``, and knows no ``-x=value``.
    """
    problems = []
    for word in args:
        option = word.removeprefix("-").removeprefix("-")
        if option != word and option in REFUSED:
            problems.append(f"qemu.args: {word} cannot be used: {REFUSED[option]}")
        elif word.startswith("mon:") or word == "stdio":
            problems.append(f"qemu.args: {word} cannot be used: {_MONITOR if word != 'stdio' else _TERMINAL}")
    return problems


def options(draft: Draft) -> Iterator[Option]:
    """The arguments, each option with its value; they come last, so that they can refer to all that is there."""
    args = draft.spec.qemu.args
    if problems := check_args(args):
        raise SpecError("; ".join(problems))
    return _paired(args)


def _paired(words: Sequence[str]) -> Iterator[Option]:
    """Options and values on one line, as far as hyphens tell; the words and their order stay what they are."""
    flag: str | None = None
    for word in words:
        if word.startswith("-") or flag is None:
            if flag is not None:
                yield Option(flag)
            flag = word
        else:
            yield Option(flag, word)
            flag = None
    if flag is not None:
        yield Option(flag)

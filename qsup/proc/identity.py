"""Which process is meant: a pid alone may belong to a stranger by the time it is used.

A process is identified by pid, start time (field 22 of ``/proc/PID/stat``), the boot's id and the token of its
launch in its command line. The check comes *after* a pidfd is open, so it holds for as long as the pidfd does.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import psutil

from qsup import clock
from qsup.argv.invocation import LOCK_FD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXEC_PATIENCE: Final = 50
"""Milliseconds for a process that is just being executed."""
GONE: Final = -1
"""Stands for the pid of a process that has been reaped."""
DELETED: Final = " (deleted)"
"""What the kernel writes behind the path of an open file that has been removed."""
HELPER: Final = "QSUP_HELPER"
"""The environment variable that names a helper: by its launch's run directory, and its own name in that."""
_QMP_CHARDEV: Final = re.compile(r"socket,id=qsup-([0-9a-f]{16}),")


class Identity(msgspec.Struct, frozen=True):
    """One process of one boot of the host."""

    pid: int
    start_time: int
    """In clock ticks since boot."""
    boot_id: str
    token: str

    @property
    def started(self) -> float:
        """When it started, in seconds of ``clock.now()``."""
        return self.start_time / os.sysconf("SC_CLK_TCK")


def identify(pid: int, token: str) -> Identity:
    """The identity of a process that is known to live; raise ProcessLookupError if it does not."""
    return Identity(pid, _start_time(pid), clock.boot_id(), token)


def is_qemu(identity: Identity) -> bool:
    """Whether the process with this pid has the launch's token in its command line, or has ended."""
    words = _settled_command_line(identity.pid)
    return not words or _token(words) == identity.token


def is_helper(identity: Identity) -> bool:
    """Whether the process with this pid is marked as a helper of the launch, or has ended.

    passt keeps its environment from everybody but root; then pid and start time have to do.
    """
    mark = _mark(identity.pid)
    return not mark or Path(mark).parent.name == identity.token


def open_verified(identity: Identity, proof: Callable[[Identity], bool] = is_qemu) -> int | None:
    """A pidfd of the very process, or None if it is gone; the caller closes it.

    A zombie is found as well: it has ended, but its exit status may still be had.
    """
    if identity.boot_id != clock.boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    try:
        if _start_time(identity.pid) == identity.start_time and proof(identity):
            return pidfd
    except OSError:
        pass
    os.close(pidfd)
    return None


def pid_of(pidfd: int) -> int | None:
    """The pid of the process that a pidfd stands for, or ``GONE``; None if it is no pidfd."""
    try:
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    pids = [line.partition(":")[2] for line in info.splitlines() if line.startswith("Pid:")]
    return int(pids[0]) if pids else None


def find_holder(lock: Path) -> tuple[int, str] | None:
    """Pid and token of the QEMU that has a guest's lock file as fd 3; needs no record, reads all of /proc."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            token = _token(command_line(pid))
            if token is not None and _is_open(pid, lock):
                return pid, token
    return None


def is_of_another(pid: int, lock: Path) -> bool:
    """Whether a QEMU with this pid lives for another guest or other directories: it holds another lock than this.

    A lock file that has been removed under it is still its own.
    """
    try:
        # If the daemon that opened it had a mount namespace, which is gone, only the end of its path is left.
        if _token(command_line(pid)) is None or _is_open(pid, lock):
            return False
        named = str(Path(f"/proc/{pid}/fd/{LOCK_FD}").readlink())
        held = named.removesuffix(DELETED)
        own = os.path.realpath(lock)
        return held != own and not (named.endswith(DELETED) and own.endswith(held))
    except OSError:
        return False


def find_helpers(runtime: Path) -> Iterator[Identity]:
    """The helpers of all launches below a guest's runtime directory; needs no record, reads all of /proc."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            mark = _mark(pid)
            if mark and Path(mark).is_relative_to(runtime):
                yield identify(pid, Path(mark).parent.name)


def helper_name(pid: int) -> str:
    """The name that a helper is marked with; empty if it cannot be read."""
    try:
        return Path(_mark(pid)).name
    except OSError:
        return ""


def _mark(pid: int) -> str:
    """The mark in a process's environment; empty without one, and where it may not be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return ""
    found = (word for word in data.split(b"\0") if word.startswith(f"{HELPER}=".encode()))
    return os.fsdecode(next(found, b"").partition(b"=")[2])


def _token(words: list[str]) -> str | None:
    """The token of a launch stands in the id of the QMP character device."""
    for word in words:
        match = _QMP_CHARDEV.match(word)
        if match:
            return match[1]
    return None


def _is_open(pid: int, lock: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/fd/{LOCK_FD}").samefile(lock)
    except OSError:
        return False


def _start_time(pid: int) -> int:
    return int(_stat(pid)[19])


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the third, the state, on."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    # The second field is the name in parentheses, which may hold anything, parentheses and blanks included.
    return stat.rpartition(")")[2].split()


def command_line(pid: int) -> list[str]:
    """The words of argv; empty for a zombie and while it is just being executed. Raises OSError if it is gone."""
    data = Path(f"/proc/{pid}/cmdline").read_bytes()
    return data.decode(errors="replace").split("\0")[:-1]


def _settled_command_line(pid: int) -> list[str]:
    """The words of argv; empty for a zombie.

    The kernel lets go of whoever spawns a process a moment before the new words are in place: that is waited for.
    """
    for _ in range(EXEC_PATIENCE):
        words = command_line(pid)
        if words or _stat(pid)[0] in "ZX":
            break
        time.sleep(0.001)
    return words

"""Which process is meant: a pid alone may belong to a stranger by the time it is used.

A process is identified by pid, start time (field 22 of ``/proc/PID/stat``), the boot's id and the token of its
launch in its command line. The check comes *after* a pidfd is open, so it holds for as long as the pidfd does.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

import msgspec
import psutil

from qsup import clock
from qsup.argv.invocation import LOCK_FD

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


def open_verified(identity: Identity) -> int | None:
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
        if _start_time(identity.pid) == identity.start_time:
            words = _command_line(identity.pid)
            if not words or _token(words) == identity.token:
                return pidfd
    except OSError:
        pass
    os.close(pidfd)
    return None


def find_holder(lock: Path) -> tuple[int, str] | None:
    """Pid and token of the QEMU that has a guest's lock file as fd 3; needs no record, reads all of /proc."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            token = _token(_command_line(pid))
            if token is not None and _is_open(pid, lock):
                return pid, token
    return None


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
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    # The second field is the name in parentheses, which may hold anything, parentheses and blanks included.
    return int(stat.rpartition(")")[2].split()[19])


def _command_line(pid: int) -> list[str]:
    """The words of argv; empty for a zombie."""
    data = Path(f"/proc/{pid}/cmdline").read_bytes()
    return data.decode(errors="replace").split("\0")[:-1]

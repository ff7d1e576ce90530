"""Where this host has put the core dump of a QEMU that died of a signal: core(5)."""

from __future__ import annotations

import glob
import itertools
import os
import re
import resource
import signal
import stat
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.status import ExitStatus

DUMPING: Final = frozenset(
    {
        signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGFPE,
        signal.SIGSEGV, signal.SIGBUS, signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ,
    }
)  # fmt: skip
"""Signals that end a process with a core dump: signal(7)."""
MOST: Final = 1000
"""Files that are looked at."""
_SPECIFIER: Final = re.compile("%(.?)", re.DOTALL)
_SYSTEMD: Final = "systemd-coredump"


class Core(msgspec.Struct, frozen=True):
    """What became of the core dump, as a sentence, and its file if there is one."""

    told: str
    path: str | None = None


class Pattern(msgspec.Struct, frozen=True):
    """The kernel's ``core_pattern``, and whether it adds the pid."""

    text: str
    uses_pid: bool

    @classmethod
    def of_host(cls) -> Pattern:
        """The one in force. Raises OSError."""
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(4096).rstrip("\n")
        with open("/proc/sys/kernel/core_uses_pid", encoding="ascii") as file:
            return cls(text, file.read(16).strip() != "0")


def locate(
    status: ExitStatus | None,
    pid: int,
    *,
    binary: str,
    since: float,
    pattern: Pattern | None = None,
    limit: int | None = None,
    directory: str | None = None,
) -> Core | None:
    """What became of the core of a process that has just ended so; None if such an end makes none.

    ``since`` is when it started, wall time in seconds. Its limit (RLIMIT_CORE) and its working directory are taken
    to be the daemon's own, which it inherits, where they are not given. May block on a file system that does.
    """
    if status is None or status.how != "signal" or status.number not in DUMPING:
        return None
    try:
        pattern = pattern or Pattern.of_host()
    except OSError as error:
        return Core(f"whether there is one is not known: core_pattern cannot be read ({error.strerror})")
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_CORE)[0]
    if pattern.text.startswith("|"):
        return _piped(pattern.text[1:].split()[:1], pid, limit)
    if pattern.text.startswith("@"):
        return Core(f"the kernel sends core dumps to the socket {pattern.text.lstrip('@')}")
    if limit == 0:
        return Core(
            "none was made: the limit on its size (RLIMIT_CORE) is 0; LimitCORE= in the unit of qsupd raises it"
        )
    return _written(pattern, status.number, pid, binary, since, directory or os.getcwd())


def _piped(program: list[str], pid: int, limit: int) -> Core:
    if not program or os.path.basename(program[0]) != _SYSTEMD:
        return Core(f"the kernel hands core dumps to {' '.join(program) or 'nobody'}, which knows more")
    if limit == 0:
        return Core(
            f"systemd-coredump keeps none, as the limit on its size (RLIMIT_CORE) is 0; `coredumpctl info {pid}` shows "
            "what it has noted, and LimitCORE= in the unit of qsupd raises the limit"
        )
    return Core(f"systemd-coredump has it: `coredumpctl info {pid}`")


def _written(pattern: Pattern, number: int, pid: int, binary: str, since: float, directory: str) -> Core:
    wanted = os.path.join(glob.escape(directory), expand(pattern, number, pid, binary))
    if wanted.endswith("/"):
        return Core("none was made: the kernel's core_pattern is empty")
    found = sorted(_candidates(wanted, since))
    if found:
        size, path = found[-1][1:]
        return Core(f"it is in {path} ({size} bytes)", path)
    return Core(f"there is none where the kernel would have put it: {wanted}")


def _candidates(wanted: str, since: float) -> Iterator[tuple[float, int, str]]:
    for path in itertools.islice(glob.iglob(wanted), MOST):
        try:
            found = os.lstat(path)
        except OSError:
            continue
        # A second earlier: file systems round times.
        if stat.S_ISREG(found.st_mode) and found.st_mtime >= since - 1:
            yield found.st_mtime, found.st_size, path


def expand(pattern: Pattern, number: int, pid: int, binary: str) -> str:
    """The pattern as a glob that matches what the kernel makes of it; what cannot be known matches anything."""
    known = {
        "%": "%",
        "p": str(pid),
        "P": str(pid),
        "s": str(number),
        "h": os.uname().nodename,
        "E": os.path.realpath(binary).replace("/", "!"),
        "": "",
    }
    parts = re.split(_SPECIFIER, pattern.text)
    texts = [
        glob.escape(part) if index % 2 == 0 else glob.escape(known[part]) if part in known else "*"
        for index, part in enumerate(parts)
    ]
    suffix = f".{pid}" if pattern.uses_pid and "p" not in parts[1::2] else ""
    return "".join(texts) + suffix

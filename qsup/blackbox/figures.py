"""How host, QEMU and cgroup were at one moment: figures of the kernel, in its own words."""

from __future__ import annotations

import os
import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from qsup.blackbox.patience import PLACES, patiently
from qsup.proc import cgroup
from qsup.proc.kernel import read

if TYPE_CHECKING:
    from collections.abc import Iterable

DEADLINE: Final = 1.0
"""Seconds for each of the two looks; the second, at the images' file systems, may hang with their storage."""
MOST_DISKS: Final = 64

_HOST: Final = (
    "/proc/version", "/proc/uptime", "/proc/loadavg", "/proc/meminfo",
    "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io",
)  # fmt: skip
_PROCESS: Final = ("status", "io", "schedstat", "cgroup", "limits", "oom_score", "oom_score_adj", "wchan")
_CGROUP: Final = (
    "memory.current", "memory.peak", "memory.max", "memory.high", "memory.events", "memory.stat",
    "memory.swap.current", "memory.pressure", "pids.current", "pids.max", "pids.events", "cpu.stat",
    "cpu.pressure", "io.stat", "io.pressure", "cgroup.events",
)  # fmt: skip
_KERNEL_PLACES: Final = threading.BoundedSemaphore(4)
"""Looks at file systems that hang must not keep anybody from looking at the kernel."""
_COLUMNS: Final = re.compile(r":\s+|\s{2,}")


async def figures(pid: int | None, images: Iterable[str] = ()) -> dict[str, Any]:
    """The figures as a JSON object with ``host``, ``process`` and ``cgroup`` (while it lives), and ``disks``.

    What cannot be read is left out; what does not come in time is told as ``unanswered``.
    """
    found: dict[str, Any] = {}
    looks = (
        (partial(_of_kernel, pid), _KERNEL_PLACES),
        (partial(_of_disks, list(images)[:MOST_DISKS]), PLACES),
    )
    for look, places in looks:
        try:
            found |= await patiently(look, DEADLINE, places)
        except TimeoutError:
            found["unanswered"] = f"no answer within {DEADLINE:g} s, as when storage hangs"
    return found


def _of_kernel(pid: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {"host": _read("", _HOST)}
    if pid is not None:
        found["process"] = _read(f"/proc/{pid}/", _PROCESS)
        directory = cgroup.directory_of(pid)
        if directory is not None:
            found["cgroup"] = of_cgroup(directory)
    return found


def of_cgroup(directory: str) -> dict[str, Any]:
    """The figures of a cgroup; nothing but its directory if it is gone."""
    return {"path": directory, **_read(f"{directory}/", _CGROUP)}


def _read(directory: str, names: Iterable[str]) -> dict[str, Any]:
    found = {}
    for name in names:
        text = read(directory + name)
        if text:
            found[name] = fields(text)
    return found


def fields(text: str) -> Any:
    """A file of the kernel: one line as it is, several as an object by what each begins with."""
    lines = text.splitlines()
    if len(lines) == 1 and not text.startswith(("some ", "full ")):
        return text
    found = {}
    for line in lines:
        parts = _COLUMNS.split(line, maxsplit=1)
        if len(parts) == 1:
            parts = line.split(" ", 1)
        found[parts[0]] = parts[1].strip() if len(parts) > 1 else ""
    return found


def _of_disks(images: list[str]) -> dict[str, Any]:
    return {"disks": {path: disk for path in images if (disk := _disk(path))}}


def _disk(path: str) -> dict[str, int]:
    try:
        system = os.statvfs(path)
        file = os.stat(path)
    except OSError:
        return {}
    return {
        "size": file.st_size,
        "allocated": file.st_blocks * 512,
        "available": system.f_bavail * system.f_frsize,
        "total": system.f_blocks * system.f_frsize,
        "inodes-available": system.f_favail,
    }

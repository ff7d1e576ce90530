"""Where a process is among the kernel's control groups (cgroups(7))."""

from __future__ import annotations

import os
from typing import Final

from qsup.proc.kernel import read

ROOT: Final = "/sys/fs/cgroup"


def unified() -> str:
    """Where the hierarchy of version 2 is mounted; beside older ones it has a place of its own."""
    return ROOT if os.path.exists(f"{ROOT}/cgroup.controllers") else f"{ROOT}/unified"


def directory_of(pid: int | str) -> str | None:
    """The directory of a process's cgroup in the unified hierarchy; None if it is gone, or there is none."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::/"):
            return os.path.normpath(unified() + line[3:])
    return None


def unit_of(pid: int | str) -> str | None:
    """The name of the innermost cgroup in which systemd keeps a process, which is that of its unit; None for none."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (controllers == "name=systemd" or (number == "0" and not controllers)) and path != "/":
            return path.rpartition("/")[2]
    return None


def events(directory: str, file: str) -> dict[str, int]:
    """A file of counters, say ``memory.events``, by their names; empty if it cannot be read."""
    pairs = [line.split() for line in read(f"{directory}/{file}").splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}

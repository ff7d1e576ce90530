"""What limits can stand on here: systemd, a cgroup of our own, or nothing. It is looked at, and not changed."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.dbus.connection import system_bus, user_bus
from qsup.proc import cgroup
from qsup.proc.kernel import read
from qsup.spec.tables.limits import CONTROLLERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Path
    from qsup.spec.model import GuestSpec

SYSTEMD: Final = "/run/systemd/system"
"""There if systemd runs the host (sd_booted(3))."""
LEAF: Final = "qsupd"
"""The cgroup that the daemon moves into, as one that has children of its own may hold no process."""
OLDER: Final = frozenset({"cpu-weight", "cpu-quota", "memory-max", "tasks-max"})
"""What systemd keeps by the controllers of version 1 as well."""


class Way(StrEnum):
    """How a guest's processes come into a cgroup."""

    SYSTEMD = "systemd"
    CGROUP = "cgroup"
    NONE = "none"


class Ground(NamedTuple):
    """The way, what can be limited on it, and why it cannot be more."""

    way: Way
    controllers: frozenset[str] = frozenset()
    older: frozenset[str] = frozenset()
    """Controllers of version 1."""
    why: str = ""
    """Why there is no way, as a sentence."""
    base: str = ""
    """For ``cgroup``: the directory below which guests have theirs."""

    def lacks(self, spec: GuestSpec) -> Iterator[tuple[Path, str]]:
        """Each limit of a guest that nothing here would keep, and why."""
        for key, controller in CONTROLLERS.items():
            if not spec.limits.asks_for(key):
                continue
            if self.way is Way.NONE:
                yield ("limits", key), self.why
            elif controller not in self.controllers and not (key in OLDER and controller in self.older):
                yield ("limits", key), self._missing(controller)
        if spec.limits.slice is not None and self.way is not Way.SYSTEMD:
            yield (
                ("limits", "slice"),
                self.why or "slices are systemd's, which does not run here; take it out",
            )

    def _missing(self, controller: str) -> str:
        if controller in self.older:
            return (
                f"version 1 of the kernel's controller {controller} cannot keep it; boot with unified cgroups"
            )
        if self.way is Way.SYSTEMD:
            return f"systemd has not got the kernel's controller {controller} here; see cgroups(7)"
        return f"the cgroup {self.base} has not got the kernel's controller {controller}; see cgroups(7)"


def look(pid: int | str = "self", *, enabled: bool = True) -> Ground:
    """What there is for a daemon, this process unless another is named, which runs as this user."""
    if not enabled:
        return Ground(Way.NONE, why="qsup.toml has scopes = false, and without a scope nothing keeps it")
    if os.path.isdir(SYSTEMD):
        if bus_address() is None:
            return Ground(
                Way.NONE, why="there is no bus to this user's systemd; see loginctl(1), enable-linger"
            )
        return Ground(Way.SYSTEMD, _given(_of_systemd()), _older())
    return _of_our_own(pid)


def bus_address() -> str | None:
    """The bus on which the systemd is to be found that this user's units are with; None if there is none."""
    return system_bus() if os.geteuid() == 0 else user_bus()


def _of_systemd() -> str:
    user = os.geteuid()
    return (
        f"{cgroup.unified()}/user.slice/user-{user}.slice/user@{user}.service" if user else cgroup.unified()
    )


def _given(directory: str) -> frozenset[str]:
    return frozenset(read(f"{directory}/cgroup.controllers").split())


def _older() -> frozenset[str]:
    """The controllers that are mounted as version 1; nobody but root is given any of them."""
    lines = [line.split() for line in read("/proc/self/mounts").splitlines()]
    options = [line[3].split(",") for line in lines if len(line) > 3 and line[2] == "cgroup"]
    mounted = {name for names in options for name in names}
    return frozenset(mounted & {"cpu", "cpuset", "memory", "pids"}) if os.geteuid() == 0 else frozenset()


def _of_our_own(pid: int | str) -> Ground:
    """The daemon's own cgroup, if it has one for itself and may make others in it."""
    nobody = "systemd does not run here, and"
    own = cgroup.directory_of(pid)
    if own is None:
        return Ground(Way.NONE, why=f"{nobody} the kernel has no cgroups of version 2")
    base = os.path.dirname(own) if os.path.basename(own) == LEAF else own
    files = [f"{base}/{name}" for name in ("", "cgroup.procs", "cgroup.subtree_control")]
    if not all(os.access(file, os.W_OK) for file in files):
        return Ground(Way.NONE, why=f"{nobody} the daemon's cgroup {base} has not been delegated to it")
    others = {*read(f"{base}/cgroup.procs").split()} - {str(os.getpid() if pid == "self" else pid)}
    if others:
        held = f"holds other processes ({', '.join(sorted(others)[:3])})"
        return Ground(
            Way.NONE, why=f"{nobody} the daemon's cgroup {base} {held}; start qsupd in one of its own"
        )
    return Ground(Way.CGROUP, _given(base), base=base)

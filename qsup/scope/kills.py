"""How many processes the kernel has killed for want of memory, by cgroup (``memory.events``).

systemd removes a guest's cgroup within milliseconds of the guest's end. The one above it counts along, and stays: what
it has counted since it was last looked at is then taken for the guest's, whose QEMU has just ended by SIGKILL.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from qsup.proc import cgroup

FILE = "memory.events"


class Kills(NamedTuple):
    """What the kernel has counted, and in which cgroup."""

    killed: int
    limited: int
    """How often the memory limit was what there was no more of."""
    where: str

    def __str__(self) -> str:
        why = "its cgroup had reached its memory limit" if self.limited else "the host had no memory left"
        counted = f"{FILE} of {self.where}: oom_kill {self.killed}"
        return f"the kernel killed QEMU for want of memory: {why} ({counted})"


class KillCounts:
    """What was counted in the cgroups that guests share, when it was last looked at."""

    def __init__(self) -> None:
        self._above: dict[str, dict[str, int]] = {}

    def begin(self, directory: str) -> None:
        """A guest is in a cgroup from now on."""
        above = os.path.dirname(directory)
        if above not in self._above:
            self._above[above] = cgroup.events(above, FILE)

    def look(self, directory: str) -> Kills | None:
        """What was killed in a guest's cgroup, which may be gone by now; None if nothing was."""
        above = os.path.dirname(directory)
        now = cgroup.events(above, FILE)
        before = self._above.get(above, now)
        self._above[above] = now
        counts, where = cgroup.events(directory, FILE), directory
        if not counts:
            counts, where = {name: now[name] - before.get(name, 0) for name in now}, above
        killed = counts.get("oom_kill", 0)
        return Kills(killed, counts.get("oom", 0), os.path.basename(where)) if killed > 0 else None

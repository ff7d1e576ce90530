"""The kernel's word on processes that it killed for want of memory, read from its log (dev-kmsg in its ABI documents).

Such a kill is a SIGKILL like any other to everybody else. Without the right to read the log nothing is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections import OrderedDict
from typing import Final

from qsup import clock

KMSG: Final = "/dev/kmsg"
RECORD: Final = 8192
"""Bytes; the kernel gives one record a read, and no record is longer."""
KEPT: Final = 256
"""How many kills are remembered."""
AT_ONCE: Final = 4096
"""Records that are read before others have their turn."""
DRIFT: Final = 1e-3
"""The share by which the clock of the kernel's log, which nobody sets, may have come to differ from the others'."""
_TIME: Final = re.compile(rb"\d+,\d+,(\d+),")
"""The head of a record up to its time, in microseconds since boot without suspends."""
_CHOSEN: Final = re.compile(rb"oom-kill:constraint=(?P<why>[A-Z_]+),.*?pid=(?P<pid>\d+),uid=")
_KILLED: Final = re.compile(
    rb"(?P<where>Memory cgroup out of memory|Out of memory)[^:]*: Killed process (?P<pid>\d+) "
)
_WHERE: Final = {
    "CONSTRAINT_MEMCG": "its cgroup had reached its memory limit",
    "CONSTRAINT_CPUSET": "the NUMA nodes that its cpuset allows had no memory left",
    "CONSTRAINT_MEMORY_POLICY": "the NUMA nodes that its memory policy allows had no memory left",
    "CONSTRAINT_NONE": "the host had no memory left",
}
_ELSEWHERE: Final = "there was no memory left where it may have it"
ONE_KILL: Final = 1.0
"""Seconds between the two records of one kill, at most."""


class OomLog:
    """Follows the kernel's log. ``run`` is its task; ``of`` may be asked at any time."""

    def __init__(self, path: str = KMSG) -> None:
        self._kills: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._fd: int | None = None
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Stop following."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    async def run(self) -> None:
        """Read the log as it grows, until cancelled."""
        if self._fd is None:
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self.catch_up)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._fd)

    def of(self, pid: int, since: float) -> str | None:
        """Why the kernel killed a process for want of memory, as a sentence; None if it is not known to have.

        ``since`` is when it started, by ``clock.now()``: an earlier kill was that of another with this pid.
        """
        self.catch_up()
        at, why = self._kills.get(pid, (0.0, ""))
        slept = clock.now() - time.clock_gettime(time.CLOCK_MONOTONIC)
        if not why or at + slept + ONE_KILL + clock.now() * DRIFT < since:
            return None
        return f"the kernel killed QEMU for want of memory: {why}"

    def catch_up(self) -> None:
        """Read what is there by now."""
        for _ in range(AT_ONCE):
            if self._fd is None:
                return
            try:
                record = os.read(self._fd, RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                # The kernel has written over what was to be read next; the next read goes on with what is left.
                continue
            except OSError:
                return
            if not record:
                return
            self.note(record)

    def note(self, record: bytes) -> None:
        """Remember a kill, if the record tells of one."""
        stamp = _TIME.match(record)
        at = int(stamp[1]) / 1e6 if stamp else 0.0
        chosen, killed = _CHOSEN.search(record), _KILLED.search(record)
        if chosen is not None:
            self._remember(int(chosen["pid"]), at, _WHERE.get(chosen["why"].decode(), _ELSEWHERE))
        elif killed is not None:
            constraint = "CONSTRAINT_MEMCG" if killed["where"].startswith(b"Memory") else "CONSTRAINT_NONE"
            pid = int(killed["pid"])
            before, why = self._kills.get(pid, (at, ""))
            # Of one kill the kernel writes two records, and the first knows more.
            same = bool(why) and at - before < ONE_KILL
            self._remember(pid, at, why if same else _WHERE[constraint])

    def _remember(self, pid: int, at: float, why: str) -> None:
        self._kills[pid] = at, why
        self._kills.move_to_end(pid)
        if len(self._kills) > KEPT:
            self._kills.popitem(last=False)

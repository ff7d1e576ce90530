"""The kernel's word on processes that it killed for want of memory, read from its log (dev-kmsg in its ABI documents).

Such a kill is a SIGKILL like any other to everybody else. Without the right to read the log nothing is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import OrderedDict
from typing import Final

KMSG: Final = "/dev/kmsg"
RECORD: Final = 8192
"""Bytes; the kernel gives one record a read, and no record is longer."""
KEPT: Final = 256
"""How many kills are remembered."""
AT_ONCE: Final = 4096
"""Records that are read before others have their turn."""
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


class OomLog:
    """Follows the kernel's log. ``run`` is its task; ``of`` may be asked at any time."""

    def __init__(self, path: str = KMSG) -> None:
        self._kills: OrderedDict[int, str] = OrderedDict()
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

    def of(self, pid: int) -> str | None:
        """Why the kernel killed this process for want of memory, as a sentence; None if it is not known to have."""
        self.catch_up()
        return self._kills.get(pid)

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
        chosen, killed = _CHOSEN.search(record), _KILLED.search(record)
        if chosen is not None:
            why = _WHERE.get(chosen["why"].decode(), "there was no memory left where it may have it")
            self._remember(int(chosen["pid"]), f"the kernel killed QEMU for want of memory: {why}")
        elif killed is not None and int(killed["pid"]) not in self._kills:
            why = _WHERE["CONSTRAINT_MEMCG" if killed["where"].startswith(b"Memory") else "CONSTRAINT_NONE"]
            self._remember(int(killed["pid"]), f"the kernel killed QEMU for want of memory: {why}")

    def _remember(self, pid: int, why: str) -> None:
        self._kills[pid] = why
        self._kills.move_to_end(pid)
        if len(self._kills) > KEPT:
            self._kills.popitem(last=False)

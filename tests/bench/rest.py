"""The daemon at rest, with many paused guests: its CPU time, its wake-ups, its memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil

from tests.bench.place import place
from tests.functional.harness import IDLE

COUNT = 50
SECONDS = 10.0
SETTLING = 2.0
"""Seconds for what a start leaves behind: timers of grace periods, pages that the allocator gives back."""


async def measure(root: Path, binary: str) -> None:
    """Absolute figures, from /proc: what is asked is that nothing can be measured."""
    names = [f"guest{number}" for number in range(COUNT)]
    async with place(root, binary, dict.fromkeys(names, IDLE)) as (here, wire):
        for name in names:
            wire.execute("guest-start", name=name)
            wire.execute("guest-pause", name=name)
        # A connected client gets events; at rest there are neither.
        wire.close()
        assert here.process is not None
        daemon = psutil.Process(here.process.pid)
        await asyncio.sleep(SETTLING)
        before, switched = daemon.cpu_times(), _switches(here.process.pid)
        await asyncio.sleep(SECONDS)
        after, switched_after = daemon.cpu_times(), _switches(here.process.pid)
        cpu = after.user + after.system - before.user - before.system
        memory = daemon.memory_info().rss / (1 << 20)
        print(
            f"at rest, {COUNT} paused guests: "
            f"{cpu:.2f} s of CPU and {switched_after - switched} wake-ups in {SECONDS:g} s"
        )
        print(
            f"    {memory:.1f} MiB resident, {daemon.num_fds()} fds, {daemon.num_threads()} threads",
            flush=True,
        )


def _switches(pid: int) -> int:
    """Voluntary context switches of all threads; those of the process are its main thread's alone."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )

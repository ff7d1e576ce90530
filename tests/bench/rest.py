"""The daemon at rest, with many paused guests: its CPU time, its wake-ups, its memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil

from tests.functional.harness import IDLE, site

COUNT = 50
SECONDS = 10.0


async def measure(root: Path, binary: str) -> None:
    """Absolute figures: what is asked is that nothing can be measured."""
    async with site(root) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{binary}"\n')
        names = [f"guest{number}" for number in range(COUNT)]
        for name in names:
            here.guest(name, IDLE)
        await here.start(development=False)
        for name in names:
            await here.run("guest-start", name=name)
            await here.run("guest-pause", name=name)
        assert here.process is not None
        daemon = psutil.Process(here.process.pid)
        before, switched = daemon.cpu_times(), daemon.num_ctx_switches()
        await asyncio.sleep(SECONDS)
        after, switched_after = daemon.cpu_times(), daemon.num_ctx_switches()
        cpu = after.user + after.system - before.user - before.system
        wakes = switched_after.voluntary - switched.voluntary
        memory = daemon.memory_info().rss / (1 << 20)
        fds = daemon.num_fds()
        print(f"at rest, {COUNT} paused guests: {cpu:.2f} s of CPU and {wakes} wake-ups in {SECONDS:g} s")
        print(f"    {memory:.1f} MiB resident, {fds} fds, {daemon.num_threads()} threads", flush=True)

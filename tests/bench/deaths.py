"""How soon the daemon sees that a QEMU has died, among many; and what a thousand crashes leave behind in it."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import psutil

from tests.bench.place import place
from tests.functional.harness import IDLE

COUNT = 50
KILLS = 100
CYCLES = 1000
WARM = 600
"""Crashes before the first look: what is bounded is full then, the last events above all."""
CRASHING = '\n[restart]\ndelay = "100 ms"\nmax-delay = "100 ms"\nlimit = 0\n'


async def detection(root: Path, binary: str) -> None:
    """From SIGKILL to the daemon's own event, with 50 guests; every guest is killed in turn."""
    names = [f"guest{number}" for number in range(COUNT)]
    async with place(root, binary, dict.fromkeys(names, IDLE + CRASHING)) as (here, wire):
        for name in names:
            wire.execute("guest-start", name=name)
            wire.execute("guest-pause", name=name)
        client = await here.connect()
        took = []
        for number in range(KILLS):
            name = names[number % COUNT]
            pid = (await _view(client, name))["pid"]
            with client.listener("GUEST_ENDED") as listener:
                at = time.time()
                os.kill(pid, signal.SIGKILL)
                stamp: Any = (await listener.get())["timestamp"]
                took.append(stamp["seconds"] + stamp["microseconds"] / 1e6 - at)
            with client.listener("GUEST_PHASE") as phases:
                while (await _view(client, name))["phase"] != "running":
                    await phases.get()
        await client.disconnect()
    ordered = sorted(one * 1000 for one in took)
    print(f"SIGKILL until the daemon's event, {COUNT} guests, {KILLS} kills:", end=" ")
    print(f"median {statistics.median(ordered):.1f} ms, 95 % {ordered[KILLS * 95 // 100]:.1f} ms", flush=True)


async def cycles(root: Path, binary: str) -> None:
    """One guest crashes and is restarted a thousand times; what the daemon holds then and held before."""
    async with place(root, binary, {"guest": IDLE + CRASHING}) as (here, wire):
        wire.execute("guest-start", name="guest")
        client = await here.connect()
        assert here.process is not None
        daemon = psutil.Process(here.process.pid)
        before, killed = (0, 0, 0.0), 0
        with client.listener("GUEST_PHASE") as phases:
            for number in range(CYCLES + 1):
                while (view := await _view(client, "guest"))["phase"] != "running" or view["pid"] == killed:
                    await phases.get()
                if number in (WARM, CYCLES):
                    await asyncio.sleep(1)
                    held = (daemon.num_fds(), daemon.num_threads(), daemon.memory_info().rss / (1 << 20))
                    before = held if number == WARM else before
                killed = view["pid"]
                os.kill(killed, signal.SIGKILL)
        await client.disconnect()
    print(f"after {WARM} crashes and restarts: {before[0]} fds, {before[1]} threads, {before[2]:.1f} MiB")
    print(f"after {CYCLES}: {held[0]} fds, {held[1]} threads, {held[2]:.1f} MiB", flush=True)


async def _view(client: Any, name: str) -> dict[str, Any]:
    view: dict[str, Any] = await client.execute("query-guest", {"name": name})
    return view

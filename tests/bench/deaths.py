"""How soon the daemon sees that a QEMU has died, among many; and what a thousand crashes leave behind in it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import psutil

from tests.bench.place import place
from tests.functional.harness import IDLE

COUNT = 50
KILLS = 200
CYCLES = 1000
WARM = 600
"""Crashes before the first look: what is bounded is full then, the last events above all."""
CRASHING = '\n[restart]\ndelay = "100 ms"\nmax-delay = "100 ms"\nlimit = 0\n'


async def detection(root: Path, binary: str) -> None:
    """From SIGKILL to the daemon's own event, with 50 paused guests that are killed in turn; and to a bare pidfd."""
    names = [f"guest{number}" for number in range(COUNT)]
    async with place(root, binary, dict.fromkeys(names, IDLE + CRASHING)) as (here, wire):
        for name in names:
            wire.execute("guest-start", name=name)
            wire.execute("guest-pause", name=name)
        client = await here.connect()
        took, bare = [], []
        for number in range(KILLS):
            name = names[number % COUNT]
            pid = (await _view(client, name))["pid"]
            with client.listener("GUEST_ENDED") as listener:
                # Each by itself: a second watcher would want a processor at the same moment as the daemon.
                watcher = None
                if number % 2:
                    watcher = asyncio.create_task(asyncio.to_thread(_gone, os.pidfd_open(pid)))
                await asyncio.sleep(0.05)
                at = time.time()
                os.kill(pid, signal.SIGKILL)
                if watcher is not None:
                    bare.append(await watcher - at)
                stamp: Any = (await listener.get())["timestamp"]
                if watcher is None:
                    took.append(stamp["seconds"] + stamp["microseconds"] / 1e6 - at)
            with client.listener("GUEST_PHASE") as phases:
                while (await _view(client, name))["phase"] != "running":
                    await phases.get()
            wire.execute("guest-pause", name=name)
        await client.disconnect()
    print(f"{COUNT} guests, {KILLS} kills; SIGKILL until the daemon's event: {_figures(took)}")
    print(f"  until the kernel is done with QEMU, as a bare watcher sees it: {_figures(bare)}", flush=True)


def _gone(pidfd: int) -> float:
    """Wait for the end of a process in a thread of its own; when it was."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    at = time.time()
    os.close(pidfd)
    return at


def _figures(seconds: list[float]) -> str:
    ordered = sorted(one * 1000 for one in seconds)
    return f"median {statistics.median(ordered):.1f} ms, 95 % {ordered[len(ordered) * 95 // 100]:.1f} ms"


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

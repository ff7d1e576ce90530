"""Restart: from SIGKILL for QEMU until its successor's vCPUs run, beside the bare start of a QEMU."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from qsup.spec.load import load
from tests.bench.bare import bare_start
from tests.bench.pairs import compare
from tests.bench.place import GUEST, MACHINES, place
from tests.bench.start import end
from tests.bench.wire import Wire


async def measure(root: Path, binary: str, machine: str, pairs: int) -> None:
    """One machine type and accelerator."""
    async with place(root, binary, {"bench": GUEST.format(*MACHINES[machine])}) as (here, wire):
        spec = load(here.config).guests["bench"]
        await asyncio.to_thread(
            compare, f"death to running ({machine})", "qsup", "bare QEMU's start",
            lambda: death_to_running(wire), lambda: bare_start(spec, binary), pairs,
        )  # fmt: skip


def death_to_running(wire: Wire) -> float:
    """Start the guest, kill its QEMU, and end it; the seconds from the signal until it ran again."""
    wire.send("guest-start", name="bench")
    wire.event("GUEST_PHASE", name="bench", phase="running")
    wire.execute("query-version")
    pid = wire.execute("query-guest", name="bench")["pid"]
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    wire.event("GUEST_PHASE", name="bench", phase="running")
    took = time.perf_counter() - began
    end(wire)
    return took

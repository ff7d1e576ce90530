"""Restart: from SIGKILL for QEMU until its successor's vCPUs run, beside bare QEMU: a start, and a death and a start.

The kernel takes 3 to 20 ms to tear a killed QEMU down, most under KVM; no supervisor can start the next before.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from tests.bench.bare import bare_restart, bare_start
from tests.bench.pairs import compare
from tests.bench.place import GUEST, MACHINES, place
from tests.bench.start import end
from tests.bench.wire import Wire


async def measure(root: Path, binary: str, machine: str, pairs: int) -> None:
    """One machine type and accelerator."""
    async with place(root, binary, {"bench": GUEST.format(*MACHINES[machine])}) as (here, wire):
        spec = load(here.config).guests["bench"]
        await asyncio.to_thread(_compare, wire, spec, binary, machine, pairs)


def _compare(wire: Wire, spec: GuestSpec, binary: str, machine: str, pairs: int) -> None:
    what = f"death to running ({machine})"

    def ours() -> float:
        return death_to_running(wire)

    compare(what, "qsup", "bare QEMU's start", ours, lambda: bare_start(spec, binary), pairs)
    compare(what, "qsup", "bare death and start", ours, lambda: bare_restart(spec, binary), pairs)


def death_to_running(wire: Wire) -> float:
    """Start the guest, kill its QEMU, and end it; the seconds from the signal until it ran again."""
    wire.send("guest-start", name="bench")
    wire.event("GUEST_PHASE", name="bench", phase="running")
    pid = wire.execute("query-guest", name="bench")["pid"]
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    wire.event("GUEST_PHASE", name="bench", phase="running")
    took = time.perf_counter() - began
    end(wire)
    return took

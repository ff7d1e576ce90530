"""Restart: from SIGKILL for QEMU until its successor's vCPUs run, beside bare QEMU: a start, and a death and a start.

The kernel takes 3 to 20 ms to tear a killed QEMU down, most under KVM; no supervisor can start the next before.
"""

from __future__ import annotations

import asyncio
import os
import select
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
    def from_signal() -> float:
        return death_to_running(wire)

    def from_death() -> float:
        return death_to_running(wire, torn_down=True)

    def start() -> float:
        return bare_start(spec, binary)

    compare(f"dead to running ({machine})", "qsup", "bare QEMU's start", from_death, start, pairs)
    what = f"SIGKILL to running ({machine})"
    compare(what, "qsup", "bare QEMU's start", from_signal, start, pairs)
    compare(what, "qsup", "bare death and start", from_signal, lambda: bare_restart(spec, binary), pairs)


def death_to_running(wire: Wire, *, torn_down: bool = False) -> float:
    """Start the guest, kill its QEMU, and end it; the seconds until it ran again.

    They count from the signal, or from the moment when the kernel has torn the old process down.
    """
    wire.send("guest-start", name="bench")
    wire.event("GUEST_PHASE", name="bench", phase="running")
    pid = wire.execute("query-guest", name="bench")["pid"]
    pidfd = os.pidfd_open(pid)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    if torn_down:
        select.select([pidfd], [], [])
        began = time.perf_counter()
    os.close(pidfd)
    wire.event("GUEST_PHASE", name="bench", phase="running")
    took = time.perf_counter() - began
    end(wire)
    return took

"""Start: from the command on an open control connection until the vCPUs run, beside bare QEMU."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from qsup.spec.load import load
from tests.bench.bare import bare_start
from tests.bench.pairs import compare
from tests.bench.place import GUEST, MACHINES, place
from tests.bench.wire import Wire


async def measure(root: Path, binary: str, machine: str, pairs: int) -> None:
    """One machine type and accelerator."""
    async with place(root, binary, {"bench": GUEST.format(*MACHINES[machine])}) as (here, wire):
        spec = load(here.config).guests["bench"]
        await asyncio.to_thread(
            compare, f"start ({machine})", "qsup", "bare QEMU",
            lambda: start(wire), lambda: bare_start(spec, binary), pairs,
        )  # fmt: skip


def start(wire: Wire) -> float:
    """Start the guest, and kill it; the seconds until its vCPUs ran."""
    began = time.perf_counter()
    wire.send("guest-start", name="bench")
    wire.event("GUEST_PHASE", name="bench", phase="running")
    took = time.perf_counter() - began
    end(wire)
    return took


def end(wire: Wire) -> None:
    """Kill the guest for good."""
    wire.send("guest-kill", name="bench")
    wire.event("GUEST_PHASE", name="bench", phase="stopped")

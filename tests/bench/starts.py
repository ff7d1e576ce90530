"""Start and restart: through qsup, and bare, in turn."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from qemu.qmp import EventListener, Message

from qsup.spec.load import load
from tests.bench.bare import Bare
from tests.bench.pairs import alternate, report
from tests.functional.harness import Site, killed, site

MACHINES = {
    "q35, KVM": ("q35", "kvm", "qemu64"),
    "q35, TCG": ("q35", "tcg", "max"),
    "microvm, TCG": ("microvm", "tcg", "max"),
}
GUEST = """
[machine]
type = "{}"
accel = "{}"
[cpu]
model = "{}"
[memory]
size = "32 MiB"
[stop]
methods = []
[restart]
delay = "0 s"
limit = 1000
"""


async def measure(root: Path, binary: str, machine: str, pairs: int) -> None:
    """Both figures of one machine type and accelerator."""
    async with site(root) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{binary}"\n')
        here.guest("bench", GUEST.format(*MACHINES[machine]))
        await here.start(development=False)
        spec = load(here.config).guests["bench"]

        async def ours() -> float:
            began = time.perf_counter()
            await here.run("guest-start", name="bench")
            took = time.perf_counter() - began
            await here.run("guest-kill", name="bench")
            return took

        async def bare() -> float:
            qemu = Bare(spec, binary)
            took = await asyncio.to_thread(qemu.start)
            qemu.end()
            return took

        report(f"start ({machine})", "qsup", "bare QEMU", *await alternate(ours, bare, pairs))
        await here.run("guest-start", name="bench")

        async def again() -> float:
            return await death_to_running(here)

        report(f"death to running ({machine})", "qsup", "bare QEMU", *await alternate(again, bare, pairs))


async def death_to_running(here: Site) -> float:
    """Kill the guest's QEMU; the seconds from the signal to the event that it runs again."""
    pid = (await here.view("bench"))["pid"]
    listener = EventListener(("GUEST_PHASE",))
    with here.client.listen(listener):
        began = time.perf_counter()
        await killed(pid)
        while _phase(await listener.get()) != "running":
            pass
        return time.perf_counter() - began


def _phase(event: Message) -> object:
    data = event["data"]
    return data["phase"] if isinstance(data, dict) else None

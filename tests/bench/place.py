"""A daemon to measure, with its guests, and the connection that drives it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bench.wire import Wire
from tests.functional.harness import Site, site

MACHINES = {
    "q35, KVM": ("q35", "kvm", "qemu64"),
    "microvm, KVM": ("microvm", "kvm", "qemu64"),
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


@contextlib.asynccontextmanager
async def place(root: Path, binary: str, guests: dict[str, str]) -> AsyncIterator[tuple[Site, Wire]]:
    """A daemon as a user has it, that runs these guests' files; nothing of it is left afterwards."""
    async with site(root) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{binary}"\n')
        for name, text in guests.items():
            here.guest(name, text)
        await here.start(development=False)
        # The harness's own client would read every event that is measured, in this process.
        await here.client.disconnect()
        wire = Wire(here.socket)
        wire.negotiate()
        try:
            yield here, wire
        finally:
            wire.close()

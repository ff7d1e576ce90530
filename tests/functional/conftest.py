"""A site for each functional test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.functional.harness import HEARTBEAT, Site, site


@pytest.fixture
async def empty(tmp_path: Path, qemu_binary: str) -> AsyncIterator[Site]:
    """A site without guests, its daemon not started."""
    async with site(tmp_path) as made:
        (made.config / "qsup.toml").write_text(f'qemu-binary = "{qemu_binary}"\n')
        yield made


@pytest.fixture
async def beating(empty: Site, heartbeat_image: Path) -> Site:
    """A site whose daemon runs the heartbeat guest ``heart``."""
    more = '[restart]\ndelay = "0 s"\n[stop]\nmethods = ["acpi"]\nrepeat = "500 ms"\ntimeout = "3 s"\n'
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + more)
    await empty.start()
    await empty.run("guest-start", name="heart")
    return empty

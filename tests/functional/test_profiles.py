"""Every profile has a sample guest, and each sample boots something real, under the daemon as a user would start it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from qsup.spec.load import load
from tests.conftest import IMAGES, ROOT, build_linux_guest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.harness import Site

UP: Final = "linux: beat 1"
"""The guest's shell has been there for a while: as it starts it drops what is typed."""
NEEDS: Final = {"secure": ("/usr/bin/swtpm", "/usr/share/OVMF/OVMF_CODE_4M.ms.fd")}
"""What a sample needs of the host beside QEMU."""


@pytest.fixture
def samples(empty: Site, heartbeat_image: Path) -> Site:
    """A site with the samples of the checkout, none of which is started by itself."""
    site = empty
    for folder in ("guests", "profiles"):
        shutil.copytree(ROOT / "configs" / folder, site.config / folder, dirs_exist_ok=True)
    for file in (site.config / "guests").iterdir():
        file.write_text(file.read_text().replace("autostart = true", "autostart = false"))
    IMAGES.mkdir(exist_ok=True)
    shutil.copy(heartbeat_image, IMAGES / "heartbeat.img")
    (site.config / "images").symlink_to(IMAGES)
    return site


async def tells(site: Site, name: str, command: str, answer: str) -> None:
    """Type a command into the guest's shell, and wait for a line of its answer.

    A serial port has no flow control: a busy guest may lose what is typed, and then it is typed again.
    """
    for _ in range(20):
        await site.types(name, f"{command}\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                return await site.prints(name, answer)
    pytest.fail(f"{name} does not answer: {site.printed(name)[-2000:]}")


async def start(site: Site, name: str, variant: str, printed: str = UP) -> None:
    """Start a sample and wait until its guest is up."""
    for file in NEEDS.get(name, ()):
        if not shutil.os.path.exists(file):  # type: ignore[attr-defined]
            pytest.skip(f"{file} is not installed")
    if variant:
        build_linux_guest(variant)
    await site.start()
    await site.run("guest-start", name=name)
    await site.prints(name, printed)


async def stops_by_itself(site: Site, name: str) -> None:
    """The guest is asked, and powers itself off."""
    await site.run("guest-stop", name=name)
    view = await site.view(name)
    assert (view["cause"], view["stopped-by"] in {"agent", "acpi"}) == ("operator", True)


@pytest.mark.linux_guest
async def test_a_32_bit_linux_sees_a_32_bit_processor(samples: Site) -> None:
    await start(samples, "linux-32bit", "linux32")
    await tells(samples, "linux-32bit", "uname -m | sed s/^/machine-/", "machine-i686")
    await tells(samples, "linux-32bit", "grep -c ' lm ' /proc/cpuinfo | sed s/^/long-mode-/", "long-mode-0")
    status, out, err = await samples.cli("argv", "linux-32bit")
    assert (status, err) == (0, "")
    assert "linux32.vmlinuz" in out
    await stops_by_itself(samples, "linux-32bit")


def test_every_profile_is_used_by_a_sample() -> None:
    configuration = load(ROOT / "configs")
    used = {profile for guest in configuration.guests.values() for profile in guest.profile}
    profiles = {path.stem for path in (ROOT / "configs/profiles").glob("*.toml")}
    assert profiles - used <= {"windows-virtio"}, "windows-virtio needs a Windows that has its drivers"

"""What follows on some causes, on real QEMUs; that each is told right is for the matrix to show."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsup import endpoint
from qsup.argv.invocation import QEMU_LOG
from qsup.guest.running import TRIPLE_FAULT
from tests.functional import causes
from tests.functional.causes import STAY
from tests.functional.harness import Site, alive

ACCELS = [pytest.param("tcg"), pytest.param("kvm", marks=pytest.mark.kvm)]


async def begun(here: Site, accel: str, tmp_path: Path, more: str = STAY) -> dict[str, Any]:
    """Start the guest, and wait until it is ready for a key."""
    image = causes.build(tmp_path / "causes.img")
    here.guest("web1", causes.guest(image, accel, more))
    if here.process is None:
        await here.start()
    else:
        await here.run("reload-config")
    await here.run("guest-start", name="web1")
    await here.prints("web1", ".")
    return await here.view("web1")


async def type_directly(here: Site, key: str) -> None:
    """Type into the guest's port while no daemon is there."""
    (port,) = here.runtime.glob("guests/web1/*/serial-console.sock")
    with await endpoint.connect(port.parent, port.name) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, key.encode())


async def ended(here: Site) -> dict[str, Any]:
    """The guest's end, when it has come to rest."""
    return await here.phase("web1", "stopped", "gave-up", "paused")


@pytest.mark.parametrize("accel", ACCELS)
async def test_a_guest_that_resets_itself_again_and_again_is_given_up(
    accel: str, empty: Site, tmp_path: Path
) -> None:
    before = await begun(empty, accel, tmp_path, "methods = []\n[restart]\nlimit = 3\n")
    number = 1
    while (await empty.view("web1"))["phase"] == "running":
        # Resets within a second count as one.
        await empty.types("web1", "r")
        number += 1
        with contextlib.suppress(TimeoutError):
            await empty.prints("web1", ".", number, within=10)
    view = await ended(empty)
    assert (view["phase"], view["cause"]) == ("gave-up", "reboot-loop")
    assert not alive(before["pid"])
    status, out, _ = await empty.cli("status", "web1")
    assert (status, "gave-up" in out) == (1, True)
    status, _, _ = await empty.cli("start", "web1")
    assert status == 0
    assert (await empty.view("web1"))["failures"] == 0


@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
async def test_a_reset_is_no_triple_fault_because_the_firmware_made_one_for_a_daemon_that_is_gone(
    away: bool, empty: Site, tmp_path: Path
) -> None:
    """SeaBIOS reboots by a triple fault where nothing else has helped, as after an operator's reset."""
    more = STAY + '[restart.on]\nguest-reset = "stop"\ntriple-fault = "pause"\n'
    await begun(empty, "tcg", tmp_path, more)
    await empty.run("guest-reset", name="web1")
    await empty.prints("web1", ".", 2)
    (log,) = empty.runtime.glob(f"guests/web1/*/{QEMU_LOG}")
    assert TRIPLE_FAULT in log.read_bytes(), "its firmware has made none, and nothing is shown"
    await empty.kill()
    await empty.start()
    await empty.phase("web1", "running")
    if away:
        await empty.kill()
        await type_directly(empty, "r")
        await empty.start()
    else:
        await empty.types("web1", "r")
    view = await ended(empty)
    assert (view["phase"], view["cause"]) == ("stopped", "guest-reset")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2M", "qsup-test", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
async def test_a_guest_whose_disk_has_no_room_goes_on_once_there_is_some(
    accel: str, away: bool, empty: Site, tmp_path: Path, small_disk: Path
) -> None:
    image = causes.build(small_disk / "causes.img")
    filler = small_disk / "filler"
    empty.guest("web1", causes.guest(image, accel, STAY))
    await empty.start()
    await empty.run("guest-start", name="web1")
    await empty.prints("web1", ".")
    with filler.open("wb") as file, contextlib.suppress(OSError):
        file.write(bytes(4 << 20))
    if away:
        await empty.kill()
        await type_directly(empty, "d")
        await empty.start()
    else:
        await empty.types("web1", "d")
    view = await empty.phase("web1", "paused")
    assert view["ill"]["cause"] == "no-space", view
    assert "disk root" in view["reason"]
    filler.unlink()
    view = await empty.phase("web1", "running")
    assert view["ill"] is None
    await empty.prints("web1", "+")


@pytest.mark.parametrize(
    ("rule", "phase"), [("", "paused"), ('[restart.on]\nimage-corrupt = "stop"\n', "stopped")]
)
async def test_a_damaged_image_is_told_as_what_it_is(
    rule: str, phase: str, empty: Site, tmp_path: Path
) -> None:
    image = causes.damaged(causes.build(tmp_path / "causes.img"))
    empty.guest("web1", causes.guest(image, "tcg", STAY + rule, image_format="qcow2"))
    await empty.start()
    await empty.run("guest-start", name="web1")
    await empty.prints("web1", ".")
    await empty.types("web1", "d")
    line = await empty.said("image-corrupt: the image of the disk root is damaged")
    assert line
    view = await empty.phase("web1", phase)
    if phase == "stopped":
        assert view["cause"] == "image-corrupt"

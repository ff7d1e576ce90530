"""Why a run ended, on real QEMUs: each cause is its own, under either accelerator, with the daemon there or away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsup import endpoint
from tests.functional import causes
from tests.functional.harness import Site, alive, killed

ACCELS = [pytest.param("tcg"), pytest.param("kvm", marks=pytest.mark.kvm)]
STAY = '[restart]\npolicy = "never"\n'


async def begun(here: Site, accel: str, tmp_path: Path, more: str = STAY) -> dict[str, Any]:
    """Start the guest, and wait until it is ready for a key."""
    image = causes.build(tmp_path / "causes.img")
    here.guest("web1", causes.GUEST.format(accel=accel, image=image, more=more))
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


KEYS = [
    ("p", "guest-shutdown", "powered itself off"),
    ("c", "guest-panic", "kernel panicked"),
]


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize(("key", "cause", "detail"), KEYS)
@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
async def test_how_a_guest_ended_is_known(
    accel: str, key: str, cause: str, detail: str, away: bool, empty: Site, tmp_path: Path
) -> None:
    before = await begun(empty, accel, tmp_path)
    if away:
        await empty.kill()
        await type_directly(empty, key)
        await empty.start()
    else:
        await empty.types("web1", key)
    view = await ended(empty)
    assert (view["phase"], view["cause"]) == ("stopped", cause)
    assert detail in view["last-end"]["detail"]
    assert not alive(before["pid"])


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize(
    ("number", "cause", "detail"),
    [
        (signal.SIGKILL, "qemu-signal", "SIGKILL"),
        (signal.SIGTERM, "qemu-signal", "QEMU got signal 15 from pid"),
        (signal.SIGABRT, "qemu-abort", "QEMU aborted"),
        (signal.SIGSEGV, "qemu-signal", "SIGSEGV"),
    ],
)
async def test_how_qemu_ended_is_known(
    accel: str, number: int, cause: str, detail: str, empty: Site, tmp_path: Path
) -> None:
    before = await begun(empty, accel, tmp_path)
    await killed(before["pid"], number)
    end = (await ended(empty))["last-end"]
    assert (end["cause"], detail in end["detail"]) == (cause, True), end
    assert any("exit status" in line for line in end["evidence"])
    assert await bundle(empty, end)


async def bundle(here: Site, end: dict[str, Any]) -> bool:
    """Wait until the bundle of an end is there."""
    await here.said(f"qsup crash show {end['bundle']}")
    return (here.state / "crashes" / str(end["bundle"]) / "summary.md").exists()


@pytest.mark.parametrize("accel", ACCELS)
async def test_a_watchdog_that_resets_is_told_from_a_reset(accel: str, empty: Site, tmp_path: Path) -> None:
    await begun(empty, accel, tmp_path)
    await empty.types("web1", "w")
    line = await empty.said("watchdog: the guest did not feed its watchdog device")
    assert "QEMU has reset it already" in line


@pytest.mark.parametrize("accel", ACCELS)
async def test_a_rule_for_the_watchdog_is_applied(accel: str, empty: Site, tmp_path: Path) -> None:
    await begun(empty, accel, tmp_path, '[restart]\npolicy = "never"\n[restart.on]\nwatchdog = "stop"\n')
    await empty.types("web1", "w")
    assert (await ended(empty))["cause"] == "watchdog"


@pytest.mark.parametrize("accel", ACCELS)
async def test_a_crash_kernel_is_no_panic_and_its_reset_no_reset(
    accel: str, empty: Site, tmp_path: Path
) -> None:
    await begun(empty, accel, tmp_path)
    await empty.types("web1", "l")
    await empty.said("guest-crashloaded: the guest's kernel panicked, and its crash kernel takes over")
    await empty.said("guest-crashloaded: the guest's crash kernel has done its work")


async def test_a_triple_fault_is_told_from_a_reset_where_that_can_be(empty: Site, tmp_path: Path) -> None:
    await begun(empty, "tcg", tmp_path)
    await empty.types("web1", "t")
    await empty.said("triple-fault: a vCPU met a triple fault")


@pytest.mark.parametrize("accel", ACCELS)
async def test_a_guest_that_resets_itself_again_and_again_is_given_up(
    accel: str, empty: Site, tmp_path: Path
) -> None:
    before = await begun(empty, accel, tmp_path, "[restart]\nlimit = 3\n")
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


@pytest.mark.kvm
async def test_an_instruction_that_kvm_cannot_emulate_is_an_internal_error(
    empty: Site, tmp_path: Path
) -> None:
    await begun(empty, "kvm", tmp_path)
    await empty.types("web1", "x")
    end = (await ended(empty))["last-end"]
    assert end["cause"] == "kvm-internal-error", end


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
    empty.guest("web1", causes.GUEST.format(accel=accel, image=image, more=STAY))
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
    raw = causes.build(tmp_path / "raw.img")
    image = tmp_path / "causes.qcow2"
    convert = await asyncio.create_subprocess_exec("qemu-img", "convert", "-O", "qcow2", str(raw), str(image))
    assert await convert.wait() == 0
    with image.open("r+b") as file:
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        # Clusters that are said to be free are given out again, over the image's own tables.
        file.seek(block)
        file.write(bytes(64))
    text = causes.GUEST.format(accel="tcg", image=image, more=STAY + rule)
    empty.guest("web1", text.replace('format = "raw"', 'format = "qcow2"'))
    await empty.start()
    await empty.run("guest-start", name="web1")
    await empty.prints("web1", ".")
    await empty.types("web1", "d")
    line = await empty.said("image-corrupt: the image of the disk root is damaged")
    assert line
    view = await empty.phase("web1", phase)
    if phase == "stopped":
        assert view["cause"] == "image-corrupt"


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A memory cgroup in which processes can be put."""
    roots = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
    root = next((one for one in roots if (one / "cgroup.procs").exists()), None)
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no memory cgroup can be made here")
    made = root / f"qsup-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error.strerror}")
    try:
        yield made
    finally:
        made.rmdir()


async def test_a_qemu_that_the_kernel_killed_for_want_of_memory_is_known(
    empty: Site, tmp_path: Path, small_memory: Path
) -> None:
    limit = small_memory / "memory.limit_in_bytes"
    if not limit.exists():
        limit = small_memory / "memory.max"
    if not limit.exists():
        pytest.skip("the cgroup has no memory controller")
    before = await begun(empty, "tcg", tmp_path)
    (small_memory / "cgroup.procs").write_text(str(before["pid"]))
    limit.write_text(str(1 << 20))
    # QEMU's memory was charged before; what it takes from now on is charged here.
    command = {"qom-type": "memory-backend-ram", "id": "more", "size": 64 << 20, "prealloc": True}
    with contextlib.suppress(Exception):
        await empty.run("guest-qmp", name="web1", command="object-add", arguments=command)
    end = (await ended(empty))["last-end"]
    assert end["cause"] == "out-of-memory", end
    assert "its cgroup had reached its memory limit" in end["detail"]

"""Disks on a real QEMU: images that are made, servers, limits, threads, reactions to errors, the seed of cloud-init."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError

from qsup.spec.tables.disk import DiskFormat
from tests.fakes import without_io_uring
from tests.functional import nbd
from tests.functional.harness import HEARTBEAT, IDLE, Site

MADE = """
[disk.root]
file = "{images}/root.qcow2"
create = "64 MiB"
base = "{images}/base.raw"
base-format = "raw"
[disk.data]
file = "{images}/data.raw"
format = "raw"
create = "1 MiB"
"""


def told(image: Path) -> dict[str, Any]:
    """What qemu-img says of an image, which may be in use."""
    command = ["qemu-img", "info", "--force-share", "--output=json", str(image)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    return directory


async def qemu(site: Site, name: str, command: str, **arguments: Any) -> Any:
    words = {key.replace("_", "-"): value for key, value in arguments.items()}
    return await site.run("guest-qmp", name=name, command=command, arguments=words)


async def run(site: Site, name: str, text: str) -> None:
    """Start a daemon and this guest."""
    site.guest(name, text)
    await site.start()
    await site.run("guest-start", name=name)
    await site.phase(name, "running")


async def test_images_are_made_at_the_first_start_and_kept_at_the_next(empty: Site, images: Path) -> None:
    (images / "base.raw").write_bytes(b"base" * 1024)
    await run(empty, "web1", IDLE + MADE.format(images=images))
    root = told(images / "root.qcow2")
    assert (root["format"], root["virtual-size"]) == ("qcow2", 64 << 20)
    assert root["full-backing-filename"] == f"{images}/base.raw"
    assert root["backing-filename-format"] == "raw"
    assert (images / "data.raw").stat().st_size == 1 << 20
    assert {(images / name).stat().st_mode & 0o707 for name in ("root.qcow2", "data.raw")} == {0o600}
    before = {path.name: path.stat().st_ino for path in images.iterdir()}
    assert before.keys() == {"base.raw", "root.qcow2", "data.raw"}
    await empty.run("guest-stop", name="web1")
    await empty.phase("web1", "stopped")
    (images / "data.raw").write_bytes(b"kept" * 256 * 1024)
    await empty.run("guest-start", name="web1")
    await empty.phase("web1", "running")
    assert {path.name: path.stat().st_ino for path in images.iterdir()} == before
    assert (images / "data.raw").read_bytes().startswith(b"kept")
    assert (images / "base.raw").read_bytes() == b"base" * 1024


async def test_an_image_that_cannot_be_made_fails_the_start_in_the_words_of_qemu_img(
    empty: Site, images: Path
) -> None:
    # The header is a qcow2 image's, so that only qemu-img finds out that the base is none.
    (images / "base").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(496))
    disk = f'[disk.root]\nfile = "{images}/a.qcow2"\nbase = "{images}/base"\n'
    empty.guest("web1", IDLE + disk + '[restart]\npolicy = "never"\n')
    await empty.start()
    with pytest.raises(
        ExecuteError, match=f"disk.root: {images}/a.qcow2 cannot be made: qemu-img: .*cluster"
    ):
        await empty.run("guest-start", name="web1")
    assert (await empty.view("web1"))["cause"] == "start-failed"
    assert {path.name for path in images.iterdir()} == {"base"}


@pytest.mark.parametrize("address", ["nbd://127.0.0.1/heart", "nbd+unix:///?socket=/run/nbd.sock"])
async def test_a_guest_boots_from_an_nbd_server(
    address: str, empty: Site, images: Path, heartbeat_image: Path
) -> None:
    shutil.copy(heartbeat_image, images / "heart.img")
    with ExitStack() as cleanup:
        served = nbd.serve(address, images / "heart.img", DiskFormat.RAW, cleanup)
        text = HEARTBEAT.format(image="").replace('file = ""', f'nbd = "{served.replace("%", "%%")}"')
        await run(empty, "heart", text)
        await empty.prints("heart", "beat 1")


def test_a_kernel_without_io_uring_is_told_before_the_start(tmp_path: Path, images: Path) -> None:
    (tmp_path / "guests").mkdir()
    disk = f'[disk.root]\nfile = "{images}/a.img"\nformat = "raw"\ncreate = "1 MiB"\naio = "io_uring"\n'
    (tmp_path / "guests/web1.toml").write_text(IDLE + disk)
    check = [sys.executable, "-m", "qsup.cli", "check", "--config", str(tmp_path)]
    filtered = [sys.executable, without_io_uring.__file__, *check]
    done = subprocess.run(filtered, capture_output=True, text=True)
    told = 'disk.root.aio: the kernel of this host cannot do "io_uring"; "threads" is used instead'
    assert told in done.stdout
    assert done.returncode == 0


LIMITED = """
[throttle.slow]
bps-total = "1 MiB"
iops-total = 100
iops-total-max = 200
iops-total-max-length = "3 s"
[iothread.io1]
[disk.root]
file = "{images}/root.qcow2"
create = "64 MiB"
throttle = "slow"
iothread = "io1"
queues = 2
werror = "stop"
rerror = "ignore"
serial = "S-1"
[disk.more]
file = "{images}/more.qcow2"
create = "64 MiB"
throttle = "slow"
"""


async def test_qemu_has_the_limits_the_thread_and_the_reactions(empty: Site, images: Path) -> None:
    await run(empty, "web1", IDLE + LIMITED.format(images=images))
    limits = await qemu(empty, "web1", "qom-get", path="/objects/throttle-slow", property="limits")
    wanted = {"bps-total": 1 << 20, "iops-total": 100, "iops-total-max": 200, "iops-total-max-length": 3}
    assert {key: limits[key] for key in wanted} == wanted
    blocks = {block["qdev"]: block["inserted"] for block in await qemu(empty, "web1", "query-block")}
    assert {inserted["drv"] for inserted in blocks.values()} == {"throttle"}
    threads = await qemu(empty, "web1", "query-iothreads")
    assert [thread["id"] for thread in threads] == ["iothread-io1"]
    root = "/machine/peripheral/disk-root"
    found = {
        key: await qemu(empty, "web1", "qom-get", path=root, property=key)
        for key in ("werror", "rerror", "serial", "num-queues", "iothread")
    }
    assert found == {
        "werror": "stop",
        "rerror": "ignore",
        "serial": "S-1",
        "num-queues": 2,
        "iothread": "/objects/iothread-io1",
    }


SEED = """
[cloud-init]
user = "admin"
password-hash-file = "{images}/hash"
run = ["{run}"]
"""


async def test_a_guest_gets_a_seed_that_follows_its_file(empty: Site, images: Path) -> None:
    secret = "$6$salt$0123456789abcdefghijklmnopqrstuvwxyz"
    (images / "hash").write_text(secret + "\n")
    await run(empty, "web1", IDLE + SEED.format(images=images, run="true"))
    (inserted,) = [block["inserted"] for block in await qemu(empty, "web1", "query-block")]
    seed = Path(inserted["image"]["filename"])
    assert seed.is_relative_to(empty.runtime)
    assert seed.stat().st_mode & 0o707 == 0o600
    assert inserted["ro"] is True
    assert secret.encode() in seed.read_bytes()
    assert secret not in empty.log
    empty.guest("web1", IDLE + SEED.format(images=images, run="echo other"))
    await empty.run("reload-config")
    before = (await empty.view("web1"))["pid"]
    await empty.run("guest-restart", name="web1")
    await empty.until("web1", lambda view: view["phase"] == "running" and view["pid"] != before)
    (inserted,) = [block["inserted"] for block in await qemu(empty, "web1", "query-block")]
    assert b"echo other" in Path(inserted["image"]["filename"]).read_bytes()

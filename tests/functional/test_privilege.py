"""QEMU as a user of its own: who it is, what it can reach, and that everything is as before once it has ended."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qsup import acl
from qsup.preflight.opened import BOTH
from qsup.proc.account import nameless
from qsup.proc.tap import BRIDGE_HELPER, HELPER_PLACES
from tests.functional import nbd
from tests.functional.harness import HEARTBEAT, IDLE, Site, killed, under_kvm
from tests.functional.rfb import Viewer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run QEMU as another user")

UID = 70001
OWN = f'[qemu]\nuser = "{UID}"\n'
"""A user that this host does not know by any name."""


def heartbeat(image: Path, more: str = OWN) -> str:
    return HEARTBEAT.format(image=image).partition("[qemu]")[0] + "[stop]\nmethods = []\n" + more


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def access(path: Path) -> acl.Acl:
    return acl.read(str(path))


@pytest.fixture
def image(empty: Site, heartbeat_image: Path) -> Path:
    """An image that root alone may read, in a directory that root alone may enter."""
    private = empty.root / "private"
    private.mkdir(mode=0o700)
    image = private / "heart.img"
    image.write_bytes(heartbeat_image.read_bytes())
    image.chmod(0o600)
    return image


async def test_qemu_has_no_rights_but_to_its_own_files_and_gives_them_back(empty: Site, image: Path) -> None:
    empty.guest("heart", heartbeat(image))
    empty.guest("plain", f'{IDLE}[qemu]\nuser = "root"\n')
    await empty.start()
    before = {path: access(path) for path in (image, image.parent, empty.state, empty.runtime)}
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    await empty.run("guest-start", name="plain")

    kernel = status_of((await empty.view("heart"))["pid"])
    assert kernel["Uid"].split() == [str(UID)] * 4
    assert kernel["Gid"].split() == [str(UID)] * 4
    assert {kernel[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (kernel["NoNewPrivs"], kernel["Seccomp"]) == ("1", "2")
    assert acl.Entry(acl.USER, acl.READ, UID) in access(image)
    assert acl.Entry(acl.USER, acl.ENTER, UID) in access(image.parent)
    assert status_of((await empty.view("plain"))["pid"])["Uid"].split()[0] == "0"

    await empty.run("guest-stop", name="heart")
    assert {path: access(path) for path in before} == before
    assert image.stat().st_mode & 0o777 == 0o600


async def test_what_was_given_is_taken_back_though_no_daemon_saw_the_end(empty: Site, image: Path) -> None:
    before = access(image)
    empty.guest("heart", heartbeat(image, f'{OWN}[restart]\npolicy = "never"\n'))
    await empty.start()
    await empty.run("guest-start", name="heart")
    pid = (await empty.view("heart"))["pid"]
    await empty.kill()
    assert access(image) != before
    await killed(pid)
    await empty.start()
    assert (await empty.view("heart"))["phase"] == "stopped"
    assert access(image) == before


@pytest.mark.kvm
async def test_kvm_is_opened_by_the_daemon_where_qemu_takes_it(
    empty: Site, newer_qemu_binary: str, heartbeat_image: Path
) -> None:
    """A QEMU that opens it itself is given access, for as long as it runs."""
    kvm, before = Path("/dev/kvm"), access(Path("/dev/kvm"))
    has = acl.rights(before, kvm.stat().st_uid, kvm.stat().st_gid, UID, nameless(UID).gids)
    text = under_kvm(heartbeat(heartbeat_image))
    empty.guest("heart", text + f'binary = "{newer_qemu_binary}"\n')
    empty.guest("older", text)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    assert status_of((await empty.view("heart"))["pid"])["Uid"].split()[0] == str(UID)
    assert access(kvm) == before
    await empty.run("guest-start", name="older")
    assert (access(kvm) == before) == (has == BOTH)
    await empty.run("guest-stop", name="older")
    assert access(kvm) == before


async def test_a_tpm_is_the_users_too_and_keeps_its_state(empty: Site, heartbeat_image: Path) -> None:
    """Whoever ran it before: what that one has left is within reach."""
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed")
    tpm = "[tpm]\nenabled = true\n"
    for user in ("root", str(UID), str(UID + 1), "root"):
        empty.guest("heart", heartbeat(heartbeat_image, f'{tpm}[qemu]\nuser = "{user}"\n'))
        if empty.process is None:
            await empty.start()
        else:
            await empty.run("reload-config")
        await empty.run("guest-start", name="heart")
        await empty.prints("heart", "beat 1")
        kernel = status_of((await empty.view("heart"))["helpers"]["tpm"])
        assert kernel["Name"] == "swtpm"
        assert kernel["Uid"].split() == [user.replace("root", "0")] * 4
        assert (user == "root") == (int(kernel["CapPrm"], 16) != 0)
        await empty.run("guest-stop", name="heart")
        state = empty.state / "guests/heart/tpm"
        if user != "root":
            assert {path.stat().st_uid for path in (state, *state.iterdir())} == {int(user)}
        for path in (state.parent, state, *state.iterdir()):
            assert not [entry for entry in access(path) if entry.tag == acl.USER]


async def test_an_image_of_two_guests_stays_open_to_the_second(empty: Site, image: Path) -> None:
    before = access(image)
    for name in ("one", "two"):
        empty.guest(name, heartbeat(image))
    await empty.start()
    for name in ("one", "two"):
        await empty.run("guest-start", name=name)
    await empty.run("guest-stop", name="one")
    assert acl.Entry(acl.USER, acl.READ, UID) in access(image)
    await empty.run("guest-stop", name="two")
    assert access(image) == before


async def test_each_guest_has_a_number_of_the_range_and_keeps_it(empty: Site) -> None:
    config = empty.config / "qsup.toml"
    config.write_text(f'{config.read_text()}qemu-user = "70010-70011"\n')
    for name in ("one", "two", "three"):
        empty.guest(name, IDLE)
    await empty.start()
    uids = {}
    for name in ("one", "two"):
        await empty.run("guest-start", name=name)
        uids[name] = status_of((await empty.view(name))["pid"])["Uid"].split()[0]
    assert uids == {"one": "70010", "two": "70011"}
    code, _, told = await empty.cli("start", "three", "--wait")
    assert code == 1
    assert "each of the 2 users from 70010 to 70011 has a guest" in told
    await empty.leave()
    await empty.start()
    for name in ("two", "one"):
        await empty.run("guest-restart", name=name)
        assert status_of((await empty.view(name))["pid"])["Uid"].split()[0] == uids[name]


async def test_viewers_pictures_and_files_that_qemu_makes_work_as_ever(empty: Site) -> None:
    paper = empty.root / "paper"
    text = f'{IDLE}[display]\ntype = "vnc"\n[parallel.lp]\nfile = "{paper}"\n{OWN}'
    empty.guest("g", text)
    await empty.start()
    await empty.run("guest-start", name="g")
    view = await empty.view("g")
    path = Path(view["display"].partition(" on unix:")[2])
    assert (path.stat().st_uid, path.parent.stat().st_uid) == (UID, 0)

    def look() -> int:
        with Viewer(str(path)) as viewer:
            viewer.log_in()
            return viewer.look().width

    assert await asyncio.to_thread(look) > 0
    assert (paper.stat().st_uid, paper.stat().st_mode & 0o777) == (0, 0o660), (
        "the list's mask shows in the mode"
    )
    os.kill(view["pid"], signal.SIGABRT)
    await empty.said("qemu-abort")


async def test_what_a_guest_names_is_within_its_users_reach(empty: Site, image: Path) -> None:
    """A chain of images and a server's socket, all of them where nobody but root may go."""
    private, overlay = image.parent, image.with_name("overlay.qcow2")
    words = ("create", "-q", "-f", "qcow2", "-b", str(image), "-F", "raw", str(overlay))
    made = await asyncio.create_subprocess_exec("qemu-img", *words)
    assert await made.wait() == 0
    served = image.with_name("served.img")
    served.write_bytes(image.read_bytes())
    with ExitStack() as cleanup:
        address = nbd.serve("nbd+unix:///?socket=/x", served, "raw", cleanup)
        disks = f'[disk.a]\nfile = "{overlay}"\n[disk.b]\nnbd = "{address}"\nformat = "raw"\n'
        empty.guest("g", f"{IDLE}{disks}{OWN}")
        await empty.start()
        await empty.run("guest-start", name="g")
        assert status_of((await empty.view("g"))["pid"])["Uid"].split()[0] == str(UID)
        await empty.run("guest-stop", name="g")
    assert {entry.tag for path in private.iterdir() for entry in access(path)}.isdisjoint(
        {acl.USER, acl.MASK}
    )


async def test_private_mounts_hide_what_is_not_the_guests(empty: Site, image: Path) -> None:
    empty.guest("heart", heartbeat(image, f"{OWN}private-mounts = true\n"))
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    root = Path(f"/proc/{(await empty.view('heart'))['pid']}/root")
    assert list((root / "home").iterdir()) == []
    assert list((root / "root").iterdir()) == []
    assert os.path.samefile(root / image.relative_to("/"), image)


@pytest.fixture
def bridge() -> Iterator[tuple[str, Path]]:
    """A bridge that everybody may have a tap on, and the file that says so."""
    if not any((Path(place) / BRIDGE_HELPER).exists() for place in HELPER_PLACES.split(":")):
        pytest.skip(f"{BRIDGE_HELPER} is not installed")
    name, conf = "qsup-t-br0", Path("/etc/qemu/bridge.conf")
    made = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no bridge can be made here: {made.stderr.strip()}")
    kept = conf.read_bytes() if conf.exists() else None
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(f"allow {name}\n")
    yield name, conf
    subprocess.run(["ip", "link", "del", name], check=True)
    conf.unlink() if kept is None else conf.write_bytes(kept)


async def test_a_bridge_gets_a_tap_that_the_daemon_has_made(empty: Site, bridge: tuple[str, Path]) -> None:
    name, conf = bridge
    empty.guest("g", f'{IDLE}[nic.lan]\ntype = "bridge"\nbridge = "{name}"\n{OWN}')
    await empty.start()
    await empty.run("guest-start", name="g")
    ports = Path(f"/sys/class/net/{name}/brif")
    assert len(list(ports.iterdir())) == 1
    conf.write_text("")
    code, _, told = await empty.cli("restart", "g", "--wait")
    assert code == 1
    assert "access denied by acl file" in told
    assert not list(ports.iterdir()), "the tap has gone with its QEMU"


async def test_what_the_user_cannot_have_is_told_before_the_start(empty: Site) -> None:
    empty.guest("port", f'{IDLE}[nic.lan]\ntype = "user"\nforward = ["tcp:127.0.0.1:81:80"]\n{OWN}')
    empty.guest("nobody", f'{IDLE}[qemu]\nuser = "no-such-user"\n')
    await empty.start()
    for name, said in (
        ("port", f"user {UID} may not listen on port 81"),
        ("nobody", "there is no user no-such-user on this host"),
    ):
        code, _, told = await empty.cli("start", name, "--wait")
        assert code == 1
        assert said in told
        assert said in (await empty.cli("check", "--config", str(empty.config)))[1]

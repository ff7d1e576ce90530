"""Displays on a real QEMU, through the real daemon, with small viewers of their own."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from qsup import clock
from qsup.probe.prober import Prober
from tests.functional import certificates, spice
from tests.functional.harness import HEARTBEAT, IDLE, Site
from tests.functional.peers import free_port
from tests.functional.rfb import NONE, VENCRYPT, VNC, Screen, Viewer

PASSWORD = "hush-123"
PROBER = Prober(None, clock.boot_id())


@pytest.fixture
def each(empty: Site, each_qemu: str) -> Site:
    """A site for each of the QEMUs, its daemon not started."""
    (empty.config / "qsup.toml").write_text(f'qemu-binary = "{each_qemu}"\n')
    return empty


@pytest.fixture
def has_spice(each_qemu: str) -> None:
    """Skips where this QEMU has no SPICE, as qsup itself finds out."""
    if not PROBER.facts(each_qemu).has_option("spice"):
        pytest.skip("this QEMU has no SPICE (Debian 13: qemu-system-modules-spice)")


async def started(site: Site, text: str) -> dict[str, Any]:
    """The facts of a guest of this text, just started by a new daemon."""
    site.guest("g", text)
    await site.start()
    await site.run("guest-start", name="g")
    return await site.view("g")


def on_socket(view: dict[str, Any], kind: str) -> str:
    """The path at which the display is said to be."""
    said, _, path = view["display"].partition(" on unix:")
    assert said == kind
    return str(path)


def with_password(site: Site, display: str) -> str:
    """The text of a guest whose display has a password."""
    file = site.root / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return f'{IDLE}[display]\n{display}\npassword-file = "{file}"\n'


def log_in(address: str | tuple[str, int], password: str | None, tls: ssl.SSLContext | None) -> str | None:
    with Viewer(address) as viewer:
        return viewer.log_in(password, tls)


async def test_a_viewer_sees_what_the_guest_shows(each: Site, heartbeat_image: Path) -> None:
    picture = each.root / "picture.ppm"
    more = f'files = ["{picture}"]\n[display]\ntype = "vnc"\n'
    view = await started(each, HEARTBEAT.format(image=heartbeat_image) + more)
    path = on_socket(view, "vnc")
    await each.prints("g", "beat 1")

    def look() -> Screen:
        with Viewer(path) as viewer:
            assert viewer.kinds == [NONE]
            assert viewer.log_in() is None
            return viewer.look()

    screen = await asyncio.to_thread(look)
    assert screen.name == "QEMU (g)"
    assert (screen.width, screen.height) == (720, 400), "the firmware leaves the screen in text mode"
    assert len({screen.pixels[at : at + 4] for at in range(0, len(screen.pixels), 4)}) > 1
    assert f"Display:    vnc on unix:{path}" in (await each.cli("status", "g"))[1]

    await each.run(
        "guest-qmp", name="g", command="screendump", arguments={"filename": str(picture), "device": "video"}
    )
    assert picture.read_bytes().startswith(b"P6\n720 400\n255\n")


async def test_a_port_is_for_those_who_know_the_password(each: Site) -> None:
    port = free_port()
    view = await started(each, with_password(each, f'type = "vnc"\nport = {port}'))
    assert view["display"] == f"vnc on 127.0.0.1:{port}"
    address = ("127.0.0.1", port)
    with Viewer(address) as viewer:
        assert viewer.kinds == [VNC]
    refused = await asyncio.to_thread(log_in, address, "another", None)
    assert refused == "Authentication failed"
    assert await asyncio.to_thread(log_in, address, PASSWORD, None) is None

    assert PASSWORD.encode() not in Path(f"/proc/{view['pid']}/cmdline").read_bytes()
    assert PASSWORD not in (await each.cli("argv", "g"))[1]
    holders = [
        path for path in each.root.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert sorted(path.name for path in holders) == ["display-password", "password"]
    assert all(path.stat().st_mode & 0o007 == 0 for path in holders)


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["certificate", "password as well"])
async def test_tls_lets_in_whom_the_authority_has_signed(each: Site, password: str | None) -> None:
    directory = each.root / "tls"
    certificates.make(directory)
    port = free_port()
    text = with_password(each, f'type = "vnc"\nport = {port}\ntls = "{directory}"\ntls-verify = true')
    if password is None:
        text = text.partition("password-file")[0]
    view = await started(each, text)
    assert view["display"] == f"vnc on 127.0.0.1:{port}, TLS"
    address = ("127.0.0.1", port)
    with Viewer(address) as viewer:
        assert viewer.kinds == [VENCRYPT]
    known, stranger = certificates.viewer(directory, known=True), certificates.viewer(directory)
    assert await asyncio.to_thread(log_in, address, password, known) is None
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.to_thread(log_in, address, password, stranger)
    if password is not None:
        refused = await asyncio.to_thread(log_in, address, "another", known)
        assert refused == "Authentication failed"


@pytest.mark.usefixtures("has_spice")
async def test_spice_on_a_socket_asks_for_the_password(each: Site) -> None:
    view = await started(each, with_password(each, 'type = "spice"'))
    path = on_socket(view, "spice")
    assert await asyncio.to_thread(spice.log_in, path, "another") == spice.PERMISSION_DENIED
    assert await asyncio.to_thread(spice.log_in, path, PASSWORD) == 0
    channels = await each.run("guest-qmp", name="g", command="query-chardev", arguments={})
    assert {"vdagent": "spicevmc"}.items() <= {one["label"]: one["filename"] for one in channels}.items()


@pytest.mark.usefixtures("has_spice")
async def test_spice_on_a_port_speaks_nothing_but_tls(each: Site) -> None:
    directory = each.root / "tls"
    certificates.make(directory)
    port = free_port()
    text = with_password(each, f'type = "spice"\nport = {port}\ntls = "{directory}"')
    view = await started(each, text)
    assert view["display"] == f"spice on 127.0.0.1:{port}, TLS"
    address, tls = ("127.0.0.1", port), certificates.viewer(directory)
    assert await asyncio.to_thread(spice.log_in, address, PASSWORD, tls) == 0
    assert await asyncio.to_thread(spice.log_in, address, "another", tls) == spice.PERMISSION_DENIED
    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(spice.log_in, address, PASSWORD)


async def test_what_stands_against_a_display_is_told_before_the_start(each: Site) -> None:
    text = with_password(each, 'type = "vnc"\nport = 5999\ntls = "/nonexistent"')
    (each.root / "password").write_text("longer than eight")
    each.guest("g", text)
    await each.start()
    with pytest.raises(Exception, match=r"holds more than the 8 bytes.*display\.tls: there is no directory"):
        await each.run("guest-start", name="g")


async def test_the_pointer_and_the_keyboard_are_those_of_the_file(each: Site) -> None:
    await started(each, f'{IDLE}[input]\nkeyboard = "virtio"\npointer = "virtio-mouse"\n')
    mice = await each.run("guest-qmp", name="g", command="query-mice", arguments={})
    assert "QEMU Virtio Mouse" in {mouse["name"] for mouse in mice}

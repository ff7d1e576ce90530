"""Displays, video cards, keyboards, pointers and sound: what does not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsup.spec.tables.display import Display, DisplayType
from tests.unit.test_spec_load import configuration, problems

if TYPE_CHECKING:
    from pathlib import Path

MICROVM = "machine.type = 'microvm'\n"
VNC = "display.type = 'vnc'\n"
SPICE = "display.type = 'spice'\n"
WRONG = {
    "display.port = 5900": 'display.port: belongs to type = "vnc" or "spice", and the type is "none"',
    "display.type = 'egl-headless'\ndisplay.address = '::1'": "display.address: belongs to type",
    "display.gl = true": 'display.gl: belongs to type = "vnc" or "spice" or "egl-headless"',
    SPICE + "display.port = 1\ndisplay.tls = '/t'\ndisplay.tls-verify = true": "display.tls-verify: belongs to",
    VNC + "display.port = 5899": "display.port: 5899 is below 5900",
    VNC + "display.port = 65536": "display.port: 65536 is out of range; allowed: 1 to 65535",
    VNC + "display.address = '0.0.0.0'": "display.address: needs `port`",
    VNC + "display.port = 5900\ndisplay.address = '1.2.3.400'": 'display.address: "1.2.3.400" is no IP address',
    VNC + "display.port = 5900\ndisplay.address = 'localhost'": 'display.address: "localhost" is not allowed',
    SPICE + "display.tls = '/t'": "display.tls: needs `port`: SPICE encrypts nothing on a socket",
    VNC + "display.tls-verify = true": "display.tls-verify: needs `tls`",
    VNC + "display.render-node = '/dev/dri/renderD128'": "display.render-node: is for gl = true",
    "display.type = 'gtk'": 'display.type: "gtk" is not allowed; allowed: "none", "vnc", "spice", "egl-headless"',
    VNC + "video.memory = '24 MiB'": "video.memory: 24 MiB is no power of two",
    VNC + "video.memory = '1 GiB'": "video.memory: 1 GiB is out of range; allowed: 1 MiB to 512 MiB",
    "video = { type = 'qxl', memory = '4 MiB' }": "video.memory: 4 MiB is out of range; allowed: 8 MiB to 256 MiB",
    "video = { type = 'virtio', memory = '16 MiB' }": 'video.memory: belongs to video.type = "std", "cirrus", "qxl"',
    "video.memory = '16 MiB'": 'and the card is "none"',
    VNC + "video.heads = 2": 'video.heads: belongs to video.type = "qxl", "virtio", "virtio-gl", and the card is "std"',
    "video = { type = 'vmware', resolution = '800x600' }": "video.resolution: belongs to",
    VNC + "video.resolution = '800*600'": 'video.resolution: "800*600" is not allowed: write width and height',
    VNC + "video.type = 'virtio-gl'": 'video.type: "virtio-gl" needs display.gl = true',
    MICROVM + "video.type = 'std'": 'video.type: a microvm has no PCI bus; use "virtio"',
    MICROVM + "input.keyboard = 'ps2'": 'input.keyboard: a microvm has neither PS/2 nor USB; use "virtio"',
    MICROVM + "input.pointer = 'usb-tablet'": "input.pointer: a microvm has neither",
    MICROVM + "sound.model = 'hda'": 'sound.model: a microvm has no PCI bus; use "virtio"',
    "sound = { model = 'hda', backend = 'spice' }": 'sound.backend: "spice" needs display.type = "spice"',
    "sound = { model = 'hda', backend = 'wav' }": 'sound.file: is missing; backend = "wav" needs it',
    "sound = { model = 'hda', backend = 'pa' }": 'sound.server: is missing; backend = "pa" needs it',
    "sound = { model = 'hda', file = '/f' }": 'sound.file: belongs to backend = "wav"',
    "sound = { model = 'hda', backend = 'alsa', server = '/s' }": "sound.server: belongs to backend = ",
    "sound = { model = 'hda', backend = 'pa', server = '/a b' }": "sound.server: has blanks",
    "sound.backend = 'alsa'": "sound.backend: needs `model`",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_does_not_go_together_is_told(text: str, tmp_path: Path) -> None:
    found = problems(tmp_path, text)
    assert any(WRONG[text] in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        VNC + "display.port = 5900\ndisplay.address = '::'\nvideo.memory = '512 MiB'",
        SPICE + "display.gl = true\nsound.model = 'hda'\nusb-redirect.a = {}",
        SPICE + "display.gl = true\ndisplay.port = 5900\nvideo.heads = 16",
        "display.type = 'egl-headless'\ndisplay.render-node = '/dev/dri/renderD129'\nvideo.type = 'virtio-gl'",
        MICROVM + VNC + "video.heads = 2\nsound.model = 'virtio'",
        MICROVM + "input.keyboard = 'virtio'",
        "sound = { model = 'usb', backend = 'pipewire', server = '/run/user/1000/pipewire-0' }",
        "sound.backend = 'none'",
    ],
)
def test_what_does_is_not(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (VNC + "display.port = 5900", SPICE + "display.port = 5900", True),
        (VNC + "display.port = 5900", VNC + "display.port = 5901", False),
        (VNC + "display.port = 5900", VNC + "display.port = 5900\ndisplay.address = '127.0.0.2'", False),
        (VNC + "display.port = 5900", "nic.a.forward = ['tcp::5900:22']", True),
        (VNC, VNC, False),
        (
            "sound = { model = 'hda', backend = 'wav', file = '/s' }",
            "sound = { model = 'hda', backend = 'wav', file = '/s' }",
            True,
        ),
    ],
)
def test_ports_and_files_have_one_guest(first: str, second: str, clash: bool, tmp_path: Path) -> None:
    assert configuration(tmp_path, {"a": first, "b": second}).broken == ({"b"} if clash else set())


@pytest.mark.parametrize(
    ("keys", "is_open"),
    [
        ({}, False),
        ({"port": 5900}, False),
        ({"port": 5900, "address": "127.3.2.1"}, False),
        ({"port": 5900, "address": "::1"}, False),
        ({"port": 5900, "address": "::"}, True),
        ({"port": 5900, "address": "10.0.0.1"}, True),
        ({"port": 5900, "address": "10.0.0.1", "tls": "/t"}, True),
        ({"port": 5900, "address": "10.0.0.1", "tls": "/t", "tls_verify": True}, False),
        ({"port": 5900, "address": "10.0.0.1", "password_file": "/p"}, False),
    ],
)
def test_a_display_is_open_to_a_network_that_it_asks_nothing(keys: dict[str, object], is_open: bool) -> None:
    assert Display(type=DisplayType.VNC, **keys).is_open is is_open  # type: ignore[arg-type]

"""What stands against a display or a sound card on this host: real files, real ports."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from qsup.argv.build import build
from qsup.preflight import screen
from qsup.preflight.obstacle import Obstacle, Plan
from qsup.spec.base import HostPath
from qsup.spec.tables.display import Display, DisplayType
from qsup.spec.tables.sound import Sound, SoundBackend, SoundModel
from tests.unit.argv_guests import CONTEXT, KVM, guest

NULL = HostPath("/dev/null")
VNC, SPICE = DisplayType.VNC, DisplayType.SPICE


def found(running: bool = False, **keys: Any) -> list[Obstacle]:
    spec = guest(**keys)
    return list(screen.obstacles(Plan(spec, KVM, build(spec, KVM, CONTEXT), running)))


def told(**keys: Any) -> list[str]:
    return [str(obstacle) for obstacle in found(**keys)]


def test_a_port_that_is_taken_is_told_unless_it_is_the_guest_s_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        display = Display(type=VNC, port=port)
        said = f"display.port: tcp port {port} on 127.0.0.1: Address already in use"
        assert told(display=display) == [said]
        assert found(running=True, display=display) == []
    assert told(display=display) == []


def test_a_display_that_is_open_to_a_network_is_told_and_not_refused() -> None:
    (obstacle,) = found(running=True, display=Display(type=SPICE, port=5930, address="0.0.0.0"))
    assert str(obstacle).startswith("display.address: everybody who reaches 0.0.0.0 sees the guest and types")
    assert not obstacle.fatal


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (VNC, b"12345678\n", None),
        (VNC, b"123456789\n", "holds more than the 8 bytes that a password can have here"),
        (SPICE, b"1" * 60, None),
        (SPICE, b"1" * 61, "holds more than the 60 bytes"),
        (VNC, b"", "is empty"),
        (VNC, None, "does not exist"),
    ],
)
def test_a_password_must_be_one_that_its_protocol_takes(
    kind: DisplayType, content: bytes | None, said: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    lines = told(display=Display(type=kind, password_file=HostPath(file)))
    assert [line.startswith(f"display.password-file: {file} {said}") for line in lines] == [True] * bool(said)


def test_a_secret_that_others_can_read_is_told_and_not_refused(tmp_path: Path) -> None:
    for name in ("password", "ca-cert.pem", "server-cert.pem", "server-key.pem"):
        (tmp_path / name).write_text("hush")
        (tmp_path / name).chmod(0o644)
    display = Display(type=VNC, password_file=HostPath(tmp_path / "password"), tls=HostPath(tmp_path))
    obstacles = found(display=display)
    assert [str(one) for one in obstacles] == [
        f"display.{key}: everybody on this host can read {tmp_path}/{name}: `chmod o= {tmp_path}/{name}`"
        for key, name in (("password-file", "password"), ("tls", "server-key.pem"))
    ]
    assert not any(one.fatal for one in obstacles)


def test_certificates_must_be_there(tmp_path: Path) -> None:
    display = Display(type=VNC, tls=HostPath(tmp_path / "tls"))
    assert told(display=display) == [f"display.tls: there is no directory {tmp_path}/tls"]
    (tmp_path / "tls").mkdir()
    assert told(display=display) == [
        f"display.tls: {tmp_path}/tls/{name} does not exist"
        for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem")
    ]


def test_a_gpu_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "DRI", tmp_path)
    headless = Display(type=DisplayType.EGL_HEADLESS)
    said = f"this host has no GPU that can draw: there is no {tmp_path}/renderD128"
    assert told(display=headless) == [f"display.type: {said}"]
    assert told(display=Display(type=VNC, gl=True)) == [f"display.gl: {said}"]
    (tmp_path / "renderD129").touch()
    assert told(display=headless) == []
    monkeypatch.setattr(os, "access", lambda path, mode: path == NULL and mode == os.R_OK)
    refused = "may not be opened by this user; add the user to the group that owns it (render)"
    assert told(display=headless) == [f"display.type: {tmp_path}/renderD129 {refused}"]
    named = Display(type=DisplayType.EGL_HEADLESS, render_node=NULL)
    assert told(display=named) == [f"display.render-node: {NULL} {refused}"]


def test_a_gpu_that_is_named_must_be_a_device(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for file, said in ((tmp_path / "a", "is no character device"), (tmp_path / "b", "does not exist")):
        display = Display(type=VNC, gl=True, render_node=HostPath(file))
        assert told(display=display) == [f"display.render-node: {file} {said}"]
    assert told(display=Display(type=VNC, gl=True, render_node=NULL)) == []


def sound(backend: SoundBackend, **keys: HostPath) -> Sound:
    return Sound(model=SoundModel.HDA, backend=backend, **keys)


def test_where_sound_goes_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "SND", tmp_path / "snd")
    (alsa,) = found(sound=sound(SoundBackend.ALSA))
    assert str(alsa) == f"sound.backend: this host has no sound card ({tmp_path}/snd)"
    assert not alsa.fatal
    server = HostPath(tmp_path / "server")
    assert told(sound=sound(SoundBackend.PA, server=server)) == [f"sound.server: {server} does not exist"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(server)
        assert told(sound=sound(SoundBackend.PIPEWIRE, server=server)) == []
    file = HostPath(tmp_path / "no/a.wav")
    assert told(sound=sound(SoundBackend.WAV, file=file)) == [
        f"sound.file: there is no directory {tmp_path}/no"
    ]
    assert told(sound=sound(SoundBackend.WAV, file=HostPath("/proc/sys/a.wav"))) == [
        "sound.file: /proc/sys cannot be written by this user"
    ]
    assert told(sound=sound(SoundBackend.WAV, file=HostPath(tmp_path / "a.wav"))) == []

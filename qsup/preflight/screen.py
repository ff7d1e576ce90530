"""The display and the sound: ports, passwords, certificates, the GPU, sound servers."""

from __future__ import annotations

import os
import stat
from pathlib import Path as File
from typing import TYPE_CHECKING, Final

from qsup.errors import LaunchError
from qsup.preflight.network import taken
from qsup.preflight.obstacle import DEVICES, REGULAR, SOCKETS, Obstacle, unusable
from qsup.secret import read_secret
from qsup.spec.screen import sound_backend
from qsup.spec.tables.display import PASSWORD_BYTES
from qsup.spec.tables.sound import SoundBackend, SoundModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan
    from qsup.spec.base import Path
    from qsup.spec.tables.display import Display
    from qsup.spec.tables.sound import Sound

DRI: Final = File("/dev/dri")
SND: Final = File("/dev/snd")
KEY: Final = "server-key.pem"
CERTIFICATES: Final = ("ca-cert.pem", "server-cert.pem", KEY)
"""What QEMU and SPICE look for in the directory."""


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """What the tables of the screen and the sound name. The port of a guest that runs is its own."""
    display, sound = plan.spec.display, plan.spec.sound
    if display.port is not None and not plan.running:
        yield from taken(("display", "port"), "tcp", display.address, display.port)
    if display.is_open:
        told = (
            f"everybody who reaches {display.address} sees the guest and types into it; write password-file"
        )
        yield Obstacle(("display", "address"), told, fatal=False)
    if display.password_file is not None:
        yield from _password(display, display.password_file)
    if display.tls is not None:
        yield from _certificates(display.tls)
    if display.draws:
        yield from _render_node(display)
    if sound.model is not SoundModel.NONE:
        yield from _sound(sound, sound_backend(plan.spec))


def _password(display: Display, file: str) -> Iterator[Obstacle]:
    path: Path = ("display", "password-file")
    if found := list(unusable(path, file, REGULAR)):
        yield from found
        return
    try:
        read_secret(file, PASSWORD_BYTES[display.type])
    except (OSError, LaunchError) as error:
        yield Obstacle(path, str(error))
    yield from _private(path, file)


def _private(path: Path, file: str) -> Iterator[Obstacle]:
    """A warning where others may read a secret."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return
    if mode & stat.S_IROTH:
        yield Obstacle(path, f"everybody on this host can read {file}: `chmod o= {file}`", fatal=False)


def _certificates(directory: str) -> Iterator[Obstacle]:
    path: Path = ("display", "tls")
    if not os.path.isdir(directory):
        yield Obstacle(path, f"there is no directory {directory}")
        return
    for name in CERTIFICATES:
        yield from unusable(path, os.path.join(directory, name), REGULAR)
    yield from _private(path, os.path.join(directory, KEY))


def _render_node(display: Display) -> Iterator[Obstacle]:
    key = "gl" if display.gl else "type"
    nodes = sorted(map(str, DRI.glob("renderD*")))
    if display.render_node is not None:
        key, nodes = "render-node", [display.render_node]
        if found := list(unusable(("display", key), display.render_node, DEVICES)):
            yield from found
            return
    if not nodes:
        yield Obstacle(("display", key), f"this host has no GPU that can draw: there is no {DRI}/renderD128")
    elif not any(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        told = f"{nodes[0]} may not be opened by this user; add the user to the group that owns it (render)"
        yield Obstacle(("display", key), told)


def _sound(sound: Sound, backend: SoundBackend) -> Iterator[Obstacle]:
    """A guest whose sound cannot be played runs all the same, but not without a file or a server that it names."""
    if backend is SoundBackend.ALSA and not SND.is_dir():
        yield Obstacle(("sound", "backend"), f"this host has no sound card ({SND})", fatal=False)
    if sound.server is not None:
        yield from unusable(("sound", "server"), sound.server, SOCKETS)
    if sound.file is not None:
        directory = os.path.dirname(sound.file)
        if not os.path.isdir(directory):
            yield Obstacle(("sound", "file"), f"there is no directory {directory}")
        elif not os.access(directory, os.W_OK | os.X_OK):
            yield Obstacle(("sound", "file"), f"{directory} cannot be written by this user")

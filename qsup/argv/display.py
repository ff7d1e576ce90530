"""How the guest's screen is served: VNC, SPICE, or the host's GPU alone."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from qsup.argv import sound, virtio_serial
from qsup.argv.files import CopySecret
from qsup.argv.invocation import DISPLAY_FILES, DISPLAY_PASSWORD_FILE, Option
from qsup.argv.quote import as_json, device, pairs
from qsup.errors import SpecError
from qsup.spec.tables.display import FIRST_VNC_PORT, PASSWORD_BYTES, DisplayType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.files import File
    from qsup.spec.tables.display import Display

LONGEST_SOCKET_PATH: Final = 107
"""Bytes of a path that the kernel's ``sockaddr_un`` has room for, less the final NUL."""
PASSWORD: Final = "display-password"  # noqa: S105 - an id of QEMU's
TLS: Final = "display-tls"
VDAGENT: Final = "vdagent"
VDAGENT_CHANNEL: Final = "com.redhat.spice.0"
"""The name by which SPICE's agent finds its port in the guest."""


def options(draft: Draft) -> Iterator[Option]:
    """No window in any case."""
    display = draft.spec.display
    if trouble := next(display.wrong(), None):
        raise SpecError(f"{'.'.join(('display', *map(str, trouble[0])))}: {trouble[1]}")
    yield _window(display)
    if display.password_file is not None:
        yield as_json("-object", {"qom-type": "secret", "id": PASSWORD, "file": _password_file(draft)})
    if display.type is DisplayType.VNC:
        yield from _vnc(draft, display)
    elif display.type is DisplayType.SPICE:
        yield Option("-spice", _spice(draft, display))
        yield from _vdagent()


def files(draft: Draft) -> Iterator[File]:
    """The password, for QEMU alone to read and in the launch's own directory."""
    display = draft.spec.display
    if display.password_file is not None:
        most = PASSWORD_BYTES[display.type]
        source = ("display", "password-file")
        yield CopySecret(display.password_file, _password_file(draft), most, source)


def _window(display: Display) -> Option:
    """Where the guest is drawn by the host's GPU, a viewer that is not on this host gets the picture read back."""
    if display.draws and not _hands_over(display):
        return Option("-display", pairs("egl-headless", **_render_node(display)))
    return Option("-display", "none")


def _hands_over(display: Display) -> bool:
    """Whether the viewer gets the picture from the GPU: SPICE can do that on a socket alone."""
    return display.type is DisplayType.SPICE and display.port is None


def _render_node(display: Display) -> dict[str, str | int | bool]:
    return {} if display.render_node is None else {"rendernode": display.render_node}


def _password_file(draft: Draft) -> str:
    return posixpath.join(draft.context.run_dir, DISPLAY_PASSWORD_FILE)


def _password(display: Display) -> dict[str, str | int | bool]:
    return {} if display.password_file is None else {"password_secret": PASSWORD}


def _vnc(draft: Draft, display: Display) -> Iterator[Option]:
    words: dict[str, str | int | bool] = {"vnc": _vnc_address(draft, display), **_password(display)}
    if display.tls is not None:
        members = {"qom-type": "tls-creds-x509", "id": TLS, "dir": display.tls}
        yield as_json("-object", {**members, "endpoint": "server", "verify-peer": display.tls_verify})
        words["tls_creds"] = TLS
    if sound.is_there(draft.spec):
        words["audiodev"] = sound.BACKEND
    yield Option("-vnc", pairs(**words))


def _vnc_address(draft: Draft, display: Display) -> str:
    if display.port is None:
        return f"unix:{_socket_path(draft)}"
    host = f"[{display.address}]" if ":" in display.address else display.address
    return f"{host}:{display.port - FIRST_VNC_PORT}"


def _spice(draft: Draft, display: Display) -> str:
    """Without a password anybody is let in; on a socket that is whoever may enter its directory."""
    words: dict[str, str | int | bool] = {}
    if display.port is None:
        words |= {"unix": True, "addr": _socket_path(draft)}
    elif display.tls is None:
        words |= {"port": display.port, "addr": display.address}
    else:
        words |= {"tls_port": display.port, "addr": display.address, "x509_dir": display.tls}
    words |= _password(display) or {"disable_ticketing": True}
    if display.gl and _hands_over(display):
        words |= {"gl": True, **_render_node(display)}
    return pairs(**words)


def _vdagent() -> Iterator[Option]:
    """The channel of SPICE's agent, which shares the clipboard and follows the size of the viewer's window."""
    yield Option("-chardev", pairs("spicevmc", id=VDAGENT, name=VDAGENT))
    port = virtio_serial.port(virtio_serial.PORT_VDAGENT)
    yield device(
        {"driver": "virtserialport", **port, "id": VDAGENT, "chardev": VDAGENT, "name": VDAGENT_CHANNEL}
    )


def _socket_path(draft: Draft) -> str:
    kind = draft.spec.display.type
    path = posixpath.join(draft.context.run_dir, DISPLAY_FILES[kind])
    if (length := len(path.encode(errors="surrogateescape"))) > LONGEST_SOCKET_PATH:
        raise SpecError(
            f"the path of the {kind.upper()} socket has {length} bytes, and {LONGEST_SOCKET_PATH} are the most:"
            f" {path}; choose a shorter name or --runtime-dir"
        )
    return path

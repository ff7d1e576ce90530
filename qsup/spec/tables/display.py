"""How the guest's screen is served. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.address import ADDRESS, address_trouble, is_loopback
from qsup.spec.base import Finding, HostPath, Section, about

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOOPBACK: Final = "127.0.0.1"
FIRST_VNC_PORT: Final = 5900
"""QEMU counts VNC's displays from this port on."""


class DisplayType(StrEnum):
    """Where the guest's screen goes."""

    NONE = "none"
    VNC = "vnc"
    SPICE = "spice"
    EGL_HEADLESS = "egl-headless"

    @property
    def is_served(self) -> bool:
        """Whether a viewer can connect to it."""
        return self in {DisplayType.VNC, DisplayType.SPICE}


PASSWORD_BYTES: Final[Mapping[DisplayType, int]] = {DisplayType.VNC: 8, DisplayType.SPICE: 60}
"""What passwords have room for: VNC looks at no more bytes, SPICE lets nobody in with a longer one."""

_BELONGS: Final[Mapping[str, tuple[DisplayType, ...]]] = {
    "address": (DisplayType.VNC, DisplayType.SPICE),
    "port": (DisplayType.VNC, DisplayType.SPICE),
    "password_file": (DisplayType.VNC, DisplayType.SPICE),
    "tls": (DisplayType.VNC, DisplayType.SPICE),
    "tls_verify": (DisplayType.VNC,),
    "gl": (DisplayType.VNC, DisplayType.SPICE, DisplayType.EGL_HEADLESS),
    "render_node": (DisplayType.VNC, DisplayType.SPICE, DisplayType.EGL_HEADLESS),
}
"""Keys that only some types of display have."""


class Display(Section, frozen=True, kw_only=True):
    """The guest's screen. Without `port` it is served on a Unix socket in the guest's run directory: `qsup status` tells where."""

    type: Annotated[
        DisplayType,
        about(
            "`vnc`; `spice`, with sound, a common clipboard and the viewer's USB devices; `egl-headless`: drawn by the host's GPU, and seen by nobody; `none`.",
            qemu="-vnc, -spice, -display egl-headless",
        ),
    ] = DisplayType.NONE
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        about(
            "For `vnc` and `spice`: a TCP port, instead of the socket. VNC's begin at 5900.",
            qemu="-vnc HOST:DISPLAY, -spice port=, -spice tls-port=",
        ),
    ] = None
    address: Annotated[
        str,
        ADDRESS,
        about(
            "With `port`: the address of the host on which it listens; `0.0.0.0` or `::` are all of them.",
            qemu="-vnc HOST:DISPLAY, -spice addr=",
        ),
    ] = LOOPBACK
    password_file: Annotated[
        HostPath | None,
        about(
            "For `vnc` and `spice`: a file that holds the viewers' password, read at each start; 8 bytes at most for VNC, 60 for SPICE.",
            qemu="-object secret -vnc password-secret=, -spice password-secret=",
        ),
    ] = None
    tls: Annotated[
        HostPath | None,
        about(
            "For `vnc`, and for `spice` with a `port`: a directory that holds `ca-cert.pem`, `server-cert.pem` and `server-key.pem`; nothing is served unencrypted then.",
            qemu="-object tls-creds-x509 -vnc tls-creds=, -spice x509-dir=",
        ),
    ] = None
    tls_verify: Annotated[
        bool,
        about(
            "For `vnc`: a viewer needs a certificate, too, from the same authority.",
            qemu="-object tls-creds-x509,verify-peer=",
        ),
    ] = False
    gl: Annotated[
        bool,
        about(
            "Whether the host's GPU draws what a guest with a `virtio-gl` card asks for; a SPICE viewer on the socket gets it from there without a copy.",
            qemu="-spice gl=on or -display egl-headless",
        ),
    ] = False
    render_node: Annotated[
        HostPath | None,
        about(
            "With `gl` or `egl-headless`: the GPU, `/dev/dri/renderD128`; without it the first one.",
            qemu="-spice rendernode=, -display egl-headless,rendernode=",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Keys that belong to another type of display, or to a key that is not there."""
        yield from self._misplaced()
        if self.type is DisplayType.VNC and self.port is not None and self.port < FIRST_VNC_PORT:
            yield ("port",), f"{self.port} is below {FIRST_VNC_PORT}, where QEMU's ports for VNC begin"
        if self.address != LOOPBACK and self.port is None and self.type.is_served:
            yield ("address",), "needs `port`; without one the screen is served on a socket"
        if trouble := address_trouble(self.address):
            yield ("address",), trouble
        if self.type is DisplayType.SPICE and self.tls is not None and self.port is None:
            yield ("tls",), "needs `port`: SPICE encrypts nothing on a socket"
        if self.tls_verify and self.tls is None:
            yield ("tls-verify",), "needs `tls`"
        if self.render_node is not None and not self.draws:
            yield ("render-node",), 'is for gl = true, or type = "egl-headless"'

    def _misplaced(self) -> Iterator[Finding]:
        for field, key in zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True):
            kinds = _BELONGS.get(field, ())
            default = LOOPBACK if field == "address" else None
            if kinds and self.type not in kinds and getattr(self, field) not in (default, False):
                which = " or ".join(f'"{kind}"' for kind in kinds)
                yield (key,), f'belongs to type = {which}, and the type is "{self.type}"'

    @property
    def draws(self) -> bool:
        """Whether the host's GPU is used."""
        return self.gl or self.type is DisplayType.EGL_HEADLESS

    @property
    def is_open(self) -> bool:
        """Whether everybody on a network is let in who can reach it."""
        known = self.password_file is not None or (self.tls is not None and self.tls_verify)
        return self.port is not None and not is_loopback(self.address) and not known

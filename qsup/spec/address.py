"""Addresses on a network as guest files write them: `127.0.0.1:1234`, `[::1]:1234`, `http://host/path`. Pure."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final, NamedTuple

from qsup.spec.base import form

ENDPOINT: Final = form(
    r"^([0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$(?!\n)",
    'write "127.0.0.1:1234", or "[::1]:1234": an address and a port',
)

HTTP_URL: Final = form(
    r"^http://[A-Za-z0-9.\[\]:_-]{1,253}(/[!-~]{0,1024})?$(?!\n)",
    'write "http://127.0.0.1:8080/health": a host, a port if it is not 80, and a path',
)
"""Checks go to the host's own ports or to the guest's network, where nobody issues certificates for TLS."""

WEB_URL: Final = form(
    r"^https?://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?(/[!-~]{0,2048})?$(?!\n)",
    'write "https://example.org/hook": a host, a port if it is not the usual one, and a path',
)

ADDRESS: Final = form(
    r"^([0-9.]{7,15}|[0-9A-Fa-f:.]{2,45})$(?!\n)", 'write an IP address: "127.0.0.1", or "::1"'
)


class Endpoint(NamedTuple):
    """An address without brackets, and a port."""

    host: str
    port: str

    @classmethod
    def of(cls, text: str) -> Endpoint:
        """The two parts of a text in the form of ``ENDPOINT``."""
        host, _, port = text.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), port)

    @property
    def trouble(self) -> str | None:
        """Why it is none, as a sentence; None if it is one."""
        return address_trouble(self.host) or port_trouble(self.port)

    @property
    def is_multicast(self) -> bool:
        """Whether a group of hosts listens there. For sound ones only."""
        return ipaddress.ip_address(self.host).is_multicast


def address_trouble(address: str) -> str | None:
    """Why a text is no IP address, as a sentence; None if it is one."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return f'"{address}" is no IP address'
    return None


def is_loopback(address: str) -> bool:
    """Whether only this host itself gets there. For sound addresses only."""
    return ipaddress.ip_address(address).is_loopback


_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
"""A host, and perhaps a port."""
HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443


class WebUrl(NamedTuple):
    """Where to ask for what, or to send it."""

    tls: bool
    authority: str
    """The host and the port as they are written."""
    path: str

    @classmethod
    def of(cls, text: str) -> WebUrl:
        """The parts of a text in the form of ``HTTP_URL`` or ``WEB_URL``."""
        scheme, _, rest = text.partition("://")
        authority, _, path = rest.partition("/")
        return cls(scheme == "https", authority, f"/{path}")

    @property
    def host(self) -> str:
        """An address without brackets, or a name. For sound ones only."""
        return self._parts[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port that is written there, else the usual one. For sound ones only."""
        return int(self._parts[1] or self._usual_port)

    @property
    def trouble(self) -> str | None:
        """Why nobody is there, as a sentence; None if somebody can be."""
        if _AUTHORITY.fullmatch(self.authority) is None:
            return f'"{self.authority}" is no host with or without a port'
        host, port = self._parts
        if host.startswith("["):
            try:
                ipaddress.IPv6Address(self.host)
            except ValueError:
                return f'"{host}" is no IPv6 address'
        return port_trouble(port) if port else None

    @property
    def origin(self) -> str:
        """What may be shown of it: the path of a webhook is often its password. For sound ones only."""
        host = self._parts[0]
        usual = self.port == self._usual_port
        return f"http{'s' * self.tls}://{host}" + ("" if usual else f":{self.port}")

    @property
    def _usual_port(self) -> int:
        return HTTPS_PORT if self.tls else HTTP_PORT

    @property
    def _parts(self) -> tuple[str, str]:
        found = _AUTHORITY.fullmatch(self.authority)
        return (found[1], found[2] or "") if found else (self.authority, "")


def port_trouble(port: str) -> str | None:
    """Why digits are no port, as a sentence; None if they are one."""
    return None if 1 <= int(port) <= 65535 else f'"{port}" is no port; ports go from 1 to 65535'


@lru_cache(4096)
def ipv4_trouble(address: str) -> str | None:
    """Why a text is no IPv4 address, as a sentence; None if it is one."""
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        return f'"{address}" is no IPv4 address'
    return None

"""Addresses on a network as guest files write them: `127.0.0.1:1234`, `[::1]:1234`. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple

from qsup.spec.base import form

ENDPOINT: Final = form(
    r"^([0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$(?!\n)",
    'write "127.0.0.1:1234", or "[::1]:1234": an address and a port',
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

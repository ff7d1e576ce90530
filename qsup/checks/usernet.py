"""What QEMU's user network knows of a connection that is forwarded into the guest. Pure.

QEMU takes every connection to a port that it forwards, also while the guest does not run, and only then asks the
guest. Its table of connections (``info usernet``, libslirp's ``slirp_connection_info``) tells how far that came::

      Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
      TCP[SYN_SENT]       8       127.0.0.1  8080       10.0.2.15    80     0     0
      TCP[HOST_FORWARD]   3       127.0.0.1  8080       10.0.2.15    80     0     0

The newest connection stands first. The addresses of forwarded ones over IPv6 are not told, the ports are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND: Final = "info usernet"
"""The command of QEMU's human monitor."""
_ROW: Final = re.compile(
    r"^\s*TCP\[(\w+)\]\s+-?[0-9]+\s+\S+\s+([0-9]{1,5})\s+\S+\s+([0-9]{1,5})\s", re.MULTILINE
)
_FORWARD: Final = "HOST_FORWARD"
PENDING: Final = frozenset({"SYN_SENT", "SYN_RCVD"})
"""The guest has been asked and has not answered."""


class Row(NamedTuple):
    """A line of the table."""

    state: str
    port: int
    guest_port: int


def rows(table: str) -> Iterator[Row]:
    """The lines of the table, as it orders them."""
    for state, port, guest_port in _ROW.findall(table):
        yield Row(state, int(port), int(guest_port))


def guest_port(table: str, port: int) -> int | None:
    """Where in the guest a port of the host leads; None if QEMU does not forward it."""
    found = (row.guest_port for row in rows(table) if row.state == _FORWARD and row.port == port)
    return next(found, None)


def newest(table: str, port: int) -> str | None:
    """The state of the newest connection that came in at a port; None if there is none."""
    inside = guest_port(table, port)
    found = (
        row.state
        for row in rows(table)
        if row.state != _FORWARD and (row.port, row.guest_port) == (port, inside)
    )
    return next(found, None)

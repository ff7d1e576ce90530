"""What QEMU has said on a connection that nobody reads any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.qmp.client import LINE_LIMIT, NotQmpError, decode
from qsup.qmp.session import checked_event

if TYPE_CHECKING:
    import socket

    from qsup.qmp.session import QmpEvent

LIMIT: Final = 4 << 20
"""Bytes that are read; a socket holds a tenth of it, so more means a QEMU that writes as fast as it is read."""


def unread_events(connection: socket.socket) -> list[QmpEvent]:
    """The events that wait in a connected socket, in the order of the wire, without waiting for more.

    The first line may be the end of one that the last reader had begun; whatever is no event is passed over.
    """
    data = bytearray()
    connection.setblocking(False)
    while len(data) < LIMIT:
        try:
            chunk = connection.recv(1 << 16)
        except OSError:
            # BlockingIOError, as there is no more, or a broken connection, which has no more either.
            break
        if not chunk:
            break
        data += chunk
    # What has no line break at its end was cut off as QEMU died.
    lines = bytes(data).split(b"\n")[:-1]
    return [event for line in lines if len(line) <= LINE_LIMIT and (event := _event(line + b"\n"))]


def _event(line: bytes) -> QmpEvent | None:
    try:
        message = decode(line)
    except NotQmpError:
        return None
    return checked_event(message) if "event" in message else None

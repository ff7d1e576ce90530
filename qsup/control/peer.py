"""Who is at the other end of a Unix socket, and whether it is still there."""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable

_UCRED: Final = struct.Struct("=iII")


class Peer(NamedTuple):
    """The process that connected, as the kernel saw it then (``SO_PEERCRED`` of unix(7))."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """The peer of a connected Unix socket."""
        return cls(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))

    def __str__(self) -> str:
        return f"uid {self.uid} (pid {self.pid})"


def check_allowed(peer: Peer, own_uid: Callable[[], int] = os.geteuid) -> None:
    """Raise NotAllowed for everybody but root and the daemon's own user."""
    if peer.uid not in (0, own_uid()):
        raise NotAllowed(f"uid {peer.uid} may not command this daemon; only root and uid {own_uid()} may")


def has_gone(connection: socket.socket) -> bool:
    """Whether the peer has closed both directions, or we have; one that only will not send any more is still there."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return bool(poll.poll(0))

"""What comes through a Unix socket beside data, fds and credentials (unix(7)); and fds that are inherited."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_UCRED: Final = struct.Struct("=iII")
_NUMBER: Final = struct.Struct("=i")


class Credentials(NamedTuple):
    """Whose process connected, as the kernel saw it then; the pid is 0 if it is in another pid namespace."""

    pid: int
    uid: int
    gid: int


def credentials(line: socket.socket) -> Credentials:
    """The peer of a connected Unix socket (``SO_PEERCRED``)."""
    said = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Credentials(*_UCRED.unpack(said))


class Received(NamedTuple):
    """What came at once; the fds are the caller's to close."""

    data: bytes
    fds: list[int]
    cut: bool
    """More fds were sent than could be taken."""


def receive(line: socket.socket, size: int, most: int) -> Received:
    """At most so many bytes and so many fds, which no child inherits. Raises OSError.

    ``socket.recv_fds`` has an argument for flags and leaves it unused: every child would inherit those fds.
    """
    data, along, flags, _ = line.recvmsg(
        size, socket.CMSG_SPACE(most * _NUMBER.size), socket.MSG_CMSG_CLOEXEC
    )
    return Received(data, [fd for one in along for fd in _numbers(*one)], bool(flags & socket.MSG_CTRUNC))


def _numbers(level: int, kind: int, data: bytes) -> Iterator[int]:
    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        whole = len(data) - len(data) % _NUMBER.size
        yield from (fd for (fd,) in _NUMBER.iter_unpack(data[:whole]))


def keep_inherited() -> None:
    """Let no child inherit what we have inherited ourselves: a QEMU would hold it, say a lock, as long as it lives."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)

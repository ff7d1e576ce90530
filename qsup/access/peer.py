"""Who is at the other end of a Unix socket, and whether it is still there."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import select
import socket
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from qsup.access.rules import Who
from qsup.rights import credentials

_PEERGROUPS: Final = 59
"""``SO_PEERGROUPS`` of Linux, which Python has no name for."""
_USUAL: Final = 1024
"""Bytes of groups that Python itself can ask for: 256 of them."""
_MOST: Final = 65536
"""Groups that a process can have (``NGROUPS_MAX``)."""
_GID: Final = 4
_WHOLE: Final = "0 0 4294967295"
"""The map of ids of whoever is in no user namespace of its own."""


class Peer(NamedTuple):
    """The process that connected, as the kernel saw it then (``SO_PEERCRED`` and ``SO_PEERGROUPS`` of unix(7))."""

    pid: int
    """0 if it is in another pid namespace."""
    uid: int
    gids: frozenset[int]
    """All its groups."""
    name: str | None = None
    """The user's name, once it has been looked up."""

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """The peer of a connected Unix socket."""
        pid, uid, gid = credentials(connection)
        return cls(pid, uid, frozenset({gid, *_groups(connection)}))

    @property
    def who(self) -> Who:
        """Who that is, for the rules."""
        nobody = unmapped()
        if nobody is None:
            return Who(self.uid, self.gids)
        return Who(self.uid, self.gids - {nobody.gid}, known=self.uid != nobody.uid)

    def __str__(self) -> str:
        pid = f"pid {self.pid}" if self.pid else "of another pid namespace"
        return f"{self.name} (uid {self.uid}, {pid})" if self.name else f"uid {self.uid} ({pid})"


class Unmapped(NamedTuple):
    """What the kernel says for users and groups that have no number here."""

    uid: int
    gid: int


@cache
def unmapped() -> Unmapped | None:
    """The numbers that stand for anybody from outside of the daemon's user namespace; None if it is in none."""
    maps = [Path(f"/proc/self/{kind}_map").read_text() for kind in ("uid", "gid")]
    if all(" ".join(text.split()) == _WHOLE for text in maps):
        return None
    numbers = [int(Path(f"/proc/sys/kernel/overflow{kind}").read_text()) for kind in ("uid", "gid")]
    return Unmapped(*numbers)


def _groups(connection: socket.socket) -> array.array[int]:
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, _USUAL))
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        groups.frombytes(_many_groups(connection))
    return groups


def _many_groups(connection: socket.socket) -> bytes:
    """The groups of a process that has more of them than Python can ask for."""
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(_MOST * _GID)
    length = ctypes.c_uint(len(room))
    done = libc.getsockopt(connection.fileno(), socket.SOL_SOCKET, _PEERGROUPS, room, ctypes.byref(length))
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return room.raw[: length.value]


def has_gone(connection: socket.socket) -> bool:
    """Whether the peer has closed both directions, or we have; one that only will not send any more is still there."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return bool(poll.poll(0))

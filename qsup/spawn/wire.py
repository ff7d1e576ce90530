"""How the spawner is talked to: one request and one answer a connection, each a JSON object with fds along with it.

Either side ends what it says by closing its direction of the stream. Fds go in front, on blanks, as many as the
kernel takes at a time.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec

from qsup import rights
from qsup.spawn.order import MOST_FDS, Order
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 1
LIMIT: Final = 4 << 20
"""Bytes; the kernel takes half of that for a program's words."""
_BATCH: Final = 250
"""Fds at a time; the kernel takes 253 (``SCM_MAX_FD``)."""
_CHUNK: Final = 1 << 16

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True):
    """With an order, its fds; without one, the pidfd of a process whose status is asked for."""

    version: int = VERSION
    order: msgspec.Raw = msgspec.Raw(b"null")
    """What is in it depends on the version."""

    @classmethod
    def of(cls, order: Order) -> Self:
        """The request to execute an order."""
        return cls(order=msgspec.Raw(msgspec.json.encode(order)))

    def ordered(self) -> Order | None:
        """The order, if there is one. Raises Garbled."""
        order: Order | None = _decoded(bytes(self.order), Order | None)
        return order


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With a pid, the pidfd of what was started. ``error`` says why there is nothing else."""

    pid: int | None = None
    status: ExitStatus | None = None
    error: str | None = None


class Garbled(Exception):
    """What the other side says is no message, or too long. The text says which."""


def send(line: socket.socket, message: Request | Answer, fds: Sequence[int] = ()) -> None:
    """Say all that is to be said. Raises OSError."""
    for first in range(0, len(fds), _BATCH):
        socket.send_fds(line, [b" "], fds[first : first + _BATCH])
    line.sendall(msgspec.json.encode(message))
    line.shutdown(socket.SHUT_WR)


def receive(line: socket.socket, kind: type[T]) -> tuple[T, list[int]]:
    """Hear all that is said; the fds are the caller's to close. Raises OSError or Garbled."""
    said = b""
    fds: list[int] = []
    try:
        while True:
            piece, more, cut = rights.receive(line, _CHUNK, _BATCH)
            fds += more
            said += piece
            if cut:
                raise Garbled("fds have got lost: no more can be open")
            if len(said) > LIMIT or len(fds) > MOST_FDS:
                raise Garbled("it is too long")
            if not piece:
                return _decoded(said, kind), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _decoded(said: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Garbled(f"it makes no sense: {error}") from error

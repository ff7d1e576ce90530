"""Datagrams to one socket of the host's, in order; those for which its queue has no room wait in a line.

A queue holds few of them (net.unix.max_dgram_qlen, often 10), and a daemon that begins has more to say at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST: Final = 4096
"""More datagrams than this do not wait."""


class Post:
    """Sends to ``address``; ``lost`` is told of what waited in vain. Where no event loop runs, nothing waits."""

    def __init__(self, address: str, lost: Callable[[OSError], None]) -> None:
        self._address = address
        self._lost = lost
        self._line: deque[tuple[bytes, list[int]]] = deque()
        self._sender: socket.socket | None = None
        """What waits for room, with those in the line behind it."""

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        """Deliver a datagram now or in its turn; copies of the fds go along. Raises OSError if that cannot be."""
        if self._sender is not None:
            self._queue(message, fds)
            return
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sender.connect(self._address)
            socket.send_fds(sender, [message], fds)
        except BlockingIOError as full:
            try:
                asyncio.get_running_loop().add_writer(sender, self._deliver, sender)
            except RuntimeError:
                sender.close()
                raise full from None
            self._sender = sender
            self._queue(message, fds)
        except OSError:
            sender.close()
            raise
        else:
            sender.close()

    def _queue(self, message: bytes, fds: Sequence[int]) -> None:
        if len(self._line) == MOST:
            raise BlockingIOError(errno.EAGAIN, f"{MOST} messages wait already")
        self._line.append((message, [os.dup(fd) for fd in fds]))

    def _deliver(self, sender: socket.socket) -> None:
        """There is room for some."""
        try:
            while self._line:
                message, fds = self._line[0]
                socket.send_fds(sender, [message], fds)
                self._drop()
        except BlockingIOError:
            return
        except OSError as error:
            self.close()
            self._lost(error)
        else:
            self.close()

    def _drop(self) -> None:
        _, fds = self._line.popleft()
        for fd in fds:
            os.close(fd)

    def close(self) -> None:
        """Forget what waits; what is sent after it begins anew."""
        while self._line:
            self._drop()
        if self._sender is not None:
            asyncio.get_running_loop().remove_writer(self._sender)
            self._sender.close()
            self._sender = None

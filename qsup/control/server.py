"""The control socket: a QMP server on a Unix path, whose clients cannot harm each other or the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final, cast

from qsup.access.door import door, open_door
from qsup.access.peer import Peer
from qsup.control.caller import Caller
from qsup.control.connection import Connection, Inbox
from qsup.control.handlers import Handlers
from qsup.control.limits import Limits
from qsup.control.places import Places
from qsup.endpoint import bind

if TYPE_CHECKING:
    import socket

    from qsup.access.access import Access
    from qsup.control.facade import Alerts, Guests, History

log: Final = logging.getLogger(__name__)


class ControlServer:
    """Listens on ``path`` from ``start`` to ``close``; each connection is a task of its own and ends with it.

    The caller holds the lock of the runtime directory, so a socket that lies at the path is a dead daemon's. A socket
    that is ``handed`` over by systemd is listened on instead, and left as it is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        guests: Guests,
        alerts: Alerts,
        history: History,
        access: Access,
        limits: Limits | None = None,
        *,
        handed: socket.socket | None = None,
    ) -> None:
        self.path = os.fspath(path) if handed is None else str(handed.getsockname())
        """Where clients find it."""
        self._handed = handed
        self._guests = guests
        self._access = access
        self._limits = limits or Limits()
        self._places = Places(self._limits)
        self._handlers = Handlers(guests, alerts, history)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen; raise QsupError if the path cannot be used."""
        loop = asyncio.get_running_loop()
        listener = bind(self.path) if self._handed is None else self._handed
        self._open_door()
        self._access.watchers.append(self._open_door)
        # Not create_unix_server: from Python 3.13 on that removes the path at the end, whoever made it.
        self._server = await loop.create_server(self._protocol, sock=listener, backlog=128)

    async def close(self, deadline: float = 2.0) -> None:
        """Stop listening, remove the path if it is ours, end every connection within ``deadline`` seconds."""
        if self._server is None:
            return
        if self._open_door in self._access.watchers:
            self._access.watchers.remove(self._open_door)
        self._server.close()
        if self._handed is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        await self._handlers.close()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.gather(*self._tasks, return_exceptions=True)
        # What took longer has been cancelled a second time by now, and ends without waiting for its client.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open_door(self) -> None:
        """Have the socket's permissions as the rules are."""
        try:
            open_door(self.path, door(self._access.rules))
        except OSError as error:
            log.warning(
                "%s cannot be given the permissions that [[access]] asks for: %s; not all can connect who may",
                self.path,
                error.strerror or error,
            )

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        inbox = Inbox()
        return asyncio.StreamReaderProtocol(inbox, lambda _, writer: self._connected(inbox, writer))

    def _connected(self, inbox: Inbox, writer: asyncio.StreamWriter) -> None:
        # asyncio wraps the socket in an object that lacks some of its methods, but none that is used here.
        peer = Peer.of(cast("socket.socket", writer.get_extra_info("socket")))
        room = self._places.room(peer, self._access.rules)
        connection = Connection(
            inbox,
            writer,
            Caller(peer, self._access),
            room,
            self._handlers,
            self._guests.bus,
            self._limits,
        )
        refusal = self._places.take(room, peer)
        task = asyncio.create_task(connection.run() if refusal is None else connection.refuse(refusal))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if refusal is None:
            task.add_done_callback(lambda _: self._places.leave(room, peer))
        # For a task that is cancelled before its first step, and so never comes to close anything.
        task.add_done_callback(lambda _: writer.transport.abort())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("internal error in a control connection, which was closed", exc_info=error)

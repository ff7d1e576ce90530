"""The control socket: a QMP server on a Unix path, whose clients cannot harm each other or the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

from qsup.control.connection import Connection, Inbox, Limits
from qsup.control.handlers import Handlers
from qsup.endpoint import bind
from qsup.errors import QsupError

if TYPE_CHECKING:
    import socket

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
        limits: Limits | None = None,
        *,
        handed: socket.socket | None = None,
    ) -> None:
        self.path = os.fspath(path) if handed is None else str(handed.getsockname())
        """Where clients find it."""
        self._handed = handed
        self._guests = guests
        self._limits = limits or Limits()
        self._handlers = Handlers(guests, alerts, history)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen; raise QsupError if the path cannot be used."""
        loop = asyncio.get_running_loop()
        listener = bind(self.path) if self._handed is None else self._handed
        # Not create_unix_server: from Python 3.13 on that removes the path at the end, whoever made it.
        self._server = await loop.create_server(self._protocol, sock=listener, backlog=128)

    async def close(self, deadline: float = 2.0) -> None:
        """Stop listening, remove the path if it is ours, end every connection within ``deadline`` seconds."""
        if self._server is None:
            return
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

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        inbox = Inbox()
        return asyncio.StreamReaderProtocol(inbox, lambda _, writer: self._connected(inbox, writer))

    def _connected(self, inbox: Inbox, writer: asyncio.StreamWriter) -> None:
        connection = Connection(inbox, writer, self._handlers, self._guests.bus, self._limits)
        if len(self._tasks) < self._limits.clients:
            run = connection.run()
        else:
            run = connection.refuse(
                QsupError(f"there are {self._limits.clients} clients already; try again later")
            )
        task = asyncio.create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        # For a task that is cancelled before its first step, and so never comes to close anything.
        task.add_done_callback(lambda _: writer.transport.abort())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("internal error in a control connection, which was closed", exc_info=error)

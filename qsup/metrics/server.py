"""Serves the metrics to whoever may connect: a few at a time, each with little time and one question."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from qsup.endpoint import bind
from qsup.errors import QsupError
from qsup.metrics.http import Refusal, parse, response
from qsup.spec.address import Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qsup.metrics.http import Request
    from qsup.spec.tables.metrics import Metrics

log = logging.getLogger(__name__)

HEAD: Final = 8 << 10
"""Bytes of a request."""
END: Final = b"\r\n\r\n"
CLIENTS: Final = 8
"""That are served at a time."""
TOLD_SO: Final = 8
"""Beyond that are told so; all others are hung up on."""
ASKING: Final = 5.0
"""Seconds that a client may take to ask."""
READING: Final = 10.0
"""Seconds that it may take to read the answer."""
BACKLOG: Final = 16


class Server:
    """Listens at one place from ``start`` to ``close``; ``answer`` makes a content type and a body."""

    def __init__(self, where: Metrics, answer: Callable[[Request], Awaitable[tuple[str, bytes]]]) -> None:
        self._where = where
        self._answer = answer
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises QsupError if that cannot be."""
        self._server = await asyncio.start_server(
            self._connected, sock=_listener(self._where), limit=HEAD, backlog=BACKLOG
        )

    async def close(self) -> None:
        """Listen no longer, and end every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        if self._where.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._where.path)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._clients) >= CLIENTS + TOLD_SO:
            writer.transport.abort()
            return
        client = asyncio.create_task(self._serve(reader, writer, busy=len(self._clients) >= CLIENTS))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)
        # For a task that is cancelled before its first step as well.
        client.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, busy: bool) -> None:
        try:
            try:
                told = await self._response(reader, busy=busy)
            except Refusal as refusal:
                told = refusal.response()
            await _send(writer, told)
        except (OSError, EOFError, TimeoutError):
            return  # It has gone, or takes too long.
        except Exception:
            log.exception("a bug in qsup: the metrics could not be told")

    async def _response(self, reader: asyncio.StreamReader, *, busy: bool) -> bytes:
        try:
            async with asyncio.timeout(ASKING):
                head = await reader.readuntil(END)
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise Refusal(status, f"a request has {HEAD} bytes at most") from None
        if busy:
            # Not before it has been read: an answer to what was not would be lost.
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many ask at once; try again")
        request = parse(head, local=self._where.path is None)
        return response(HTTPStatus.OK, *await self._answer(request))


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send an answer, and wait until the client has it or has taken too long."""
    writer.write(data)
    async with asyncio.timeout(READING):
        # Closing flushes; drain() would be content with a part.
        writer.close()
        await writer.wait_closed()


def _listener(where: Metrics) -> socket.socket:
    if where.path is not None:
        return _unix(where.path, where.group)
    endpoint = Endpoint.of(where.listen or "")
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with contextlib.ExitStack() as on_failure:
        listener = on_failure.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((endpoint.host, int(endpoint.port)))
        except OSError as error:
            raise QsupError(f"cannot listen on {where.listen}: {error.strerror}") from error
        on_failure.pop_all()
    return listener


def _unix(path: str, group: str | None) -> socket.socket:
    """The socket at a path, for its owner and a group only."""
    try:
        gid = None if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise QsupError(f"cannot listen on {path}: there is no group {group}") from None
    listener = bind(path)
    try:
        if gid is not None:
            os.chown(path, -1, gid, follow_symlinks=False)
            os.chmod(path, 0o660)
    except OSError as error:
        listener.close()
        raise QsupError(f"cannot give {path} to the group {group}: {error.strerror}") from error
    return listener

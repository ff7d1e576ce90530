"""A QMP server that does what a real one will not do on request: answer late, twice, wrongly, endlessly or never.

A test gives it a script: an async function that gets a :class:`Peer` and speaks for the server. ``greet`` and
``negotiate`` are the well-behaved beginning. Commands arrive without line breaks, so they are cut by decoding.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

GREETING = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": ["oob"]}
}


class Peer:
    """The server's end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._text = ""

    async def say(self, *messages: Any) -> None:
        """Send messages, one a line."""
        await self.raw(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> dict[str, Any]:
        """The next command."""
        while True:
            text = self._text.lstrip()
            with contextlib.suppress(ValueError):
                message, end = json.JSONDecoder().raw_decode(text)
                self._text = text[end:]
                assert isinstance(message, dict)
                return message
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self._text += data.decode()

    async def greet(self) -> None:
        """Greet and take the capabilities, as a well-behaved QEMU does."""
        await self.say(GREETING)
        assert (await self.hear())["execute"] == "qmp_capabilities"
        await self.say({"return": {}})

    async def answer(self, value: Any = None) -> dict[str, Any]:
        """Hear one command and answer it; return the command."""
        command = await self.hear()
        await self.say({"return": {} if value is None else value, "id": command["id"]})
        return command

    def hang_up(self) -> None:
        """Close at once, in the same turn of the event loop, so that what was said last and the end come together."""
        sock = self.writer.get_extra_info("socket")
        assert self.writer.transport.get_write_buffer_size() == 0
        sock.shutdown(socket.SHUT_RDWR)

    async def gone(self) -> None:
        """Wait until the client has hung up."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(script: Script) -> AsyncIterator[socket.socket]:
    """Run the script on one end of a socket pair; yield the client's end. A failure of the script is raised."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=theirs)
    task = asyncio.ensure_future(script(Peer(reader, writer)))
    try:
        yield ours
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, EOFError, ConnectionError):
            await task
    finally:
        task.cancel()
        writer.transport.abort()
        ours.close()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(OSError):
            await writer.wait_closed()

"""The QEMU guest agent: one command, over a channel whose other end the guest controls.

The protocol is not quite QMP (``qemu-ga-ref``): no greeting, no events, and the channel may hold half an answer to
somebody else. Each call connects anew, resynchronises with ``guest-sync-delimited`` (the agent answers with a byte
0xFF before its reply) and speaks only then. Calls at the same time are served one after the other: QEMU accepts
one client of the channel.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup import endpoint
from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp.session import printable

if TYPE_CHECKING:
    import socket
    from pathlib import Path

ANSWER_LIMIT: Final = 4 << 20
"""Bytes that an agent may send in one call; all of it is the guest's to choose."""
CHUNK: Final = 64 << 10
"""Bytes that are received at a time."""
SYNC: Final = b"\xff"
GRACE: Final = 0.3
"""Seconds in which an agent refuses a command that has no answer when it works, such as ``guest-shutdown``."""


async def agent_execute(
    directory: Path,
    file: str,
    command: str,
    arguments: dict[str, Any],
    *,
    deadline: float = 5.0,
    expect_reply: bool = True,
) -> Any:
    """Execute a command in the guest and return its answer, None for one that has none.

    Raises QmpUnanswered if no agent listens, or it does not answer within ``deadline`` seconds; QmpRefused if it
    does not execute the command; QmpLost if there is no channel, it ends, or what comes over it is no answer.
    """
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(deadline):
            sock = await endpoint.connect(directory, file)
            channel = _Channel(sock)
            await channel.synchronise()
            await channel.send({"execute": command, "arguments": arguments})
            return await (channel.answer() if expect_reply else channel.refusal())
    except TimeoutError:
        raise QmpUnanswered(f"no guest agent answers {command} within {deadline:g} s") from None
    except OSError as error:
        raise QmpLost(f"the agent's channel broke: {error.strerror}") from error
    finally:
        if sock is not None:
            sock.close()


class _Channel:
    """A connection to the agent, in step with it after :meth:`synchronise`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._received = 0

    async def send(self, message: dict[str, Any]) -> None:
        await self._loop.sock_sendall(self._sock, msgspec.json.encode(message) + b"\n")

    async def synchronise(self) -> None:
        """Skip whatever is left of an earlier conversation."""
        # Not a count from 1: what an earlier daemon was answered may still lie in the channel.
        number = secrets.randbits(32)
        await self._loop.sock_sendall(self._sock, SYNC)
        await self.send({"execute": "guest-sync-delimited", "arguments": {"id": number}})
        while True:
            await self._until(SYNC)
            if _object(await self._until(b"\n")).get("return") == number:
                return

    async def answer(self) -> Any:
        """The answer to the last command."""
        reply = _object(await self._until(b"\n"))
        match reply:
            case {"error": {"class": str(kind), "desc": str(desc)}}:
                raise QmpRefused(printable(desc), printable(kind))
            case {"return": value}:
                return value
            case _:
                raise QmpLost("the guest agent sent something that is no answer")

    async def refusal(self) -> None:
        """Wait a moment for the refusal of a command that has no answer otherwise."""
        try:
            async with asyncio.timeout(GRACE):
                await self.answer()
        except (TimeoutError, QmpLost):
            # Silence is consent; and an agent whose guest goes down may take the channel with it.
            return

    async def _until(self, end: bytes) -> bytes:
        """What comes before the next ``end``."""
        searched = 0
        while (found := self._buffer.find(end, searched)) < 0:
            searched = len(self._buffer)
            await self._receive()
        taken = bytes(self._buffer[:found])
        del self._buffer[: found + 1]
        return taken

    async def _receive(self) -> None:
        # With data at hand sock_recv does not wait; a guest that sends without end must not hold up the loop.
        await asyncio.sleep(0)
        data = await self._loop.sock_recv(self._sock, CHUNK)
        if not data:
            raise QmpLost("the agent's channel was closed")
        self._received += len(data)
        if self._received > ANSWER_LIMIT:
            raise QmpLost(f"the guest agent sent more than {ANSWER_LIMIT} bytes")
        self._buffer += data


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object in a line; empty if the line is something else."""
    try:
        message = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return message if isinstance(message, dict) else {}

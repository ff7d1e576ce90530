"""The QEMU guest agent: one command, over a channel whose other end the guest controls.

The protocol is not quite QMP (``qemu-ga-ref``): no greeting, no events, and the channel may hold half an answer to
somebody else. Each call connects anew, resynchronises with ``guest-sync-delimited`` (the agent answers with a byte
0xFF before its reply) and speaks only then.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp import endpoint
from qsup.qmp.session import printable

if TYPE_CHECKING:
    import socket
    from pathlib import Path

ANSWER_LIMIT: Final = 4 << 20
"""Bytes of an answer; all of it is the guest's to choose."""
SYNC: Final = b"\xff"
GRACE: Final = 0.3
"""Seconds in which an agent refuses a command that has no answer when it works, such as ``guest-shutdown``."""
_ids: Final = itertools.count(1)


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
    does not execute the command; QmpLost if the channel ends.
    """
    sock = await endpoint.connect(directory, file)
    try:
        async with asyncio.timeout(deadline):
            channel = _Channel(sock)
            await channel.synchronise()
            await channel.send({"execute": command, "arguments": arguments})
            return await (channel.answer() if expect_reply else channel.refusal())
    except TimeoutError:
        raise QmpUnanswered(f"no guest agent answers {command} within {deadline:g} s") from None
    except OSError as error:
        raise QmpLost(f"the agent's channel broke: {error.strerror}") from error
    finally:
        sock.close()


class _Channel:
    """A connection to the agent, in step with it after :meth:`synchronise`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()

    async def send(self, message: dict[str, Any]) -> None:
        await self._loop.sock_sendall(self._sock, msgspec.json.encode(message) + b"\n")

    async def synchronise(self) -> None:
        """Skip whatever is left of an earlier conversation."""
        number = next(_ids)
        await self._loop.sock_sendall(self._sock, SYNC)
        await self.send({"execute": "guest-sync-delimited", "arguments": {"id": number}})
        while True:
            await self._line(SYNC)
            if _member(await self._line(b"\n"), "return") == number:
                return

    async def answer(self) -> Any:
        """The answer to the last command."""
        line = await self._line(b"\n")
        error = _member(line, "error")
        if isinstance(error, dict):
            raise QmpRefused(printable(error.get("desc")), printable(error.get("class")))
        return _member(line, "return")

    async def refusal(self) -> None:
        """Wait a moment for the refusal of a command that has no answer otherwise."""
        try:
            async with asyncio.timeout(GRACE):
                await self.answer()
        except (TimeoutError, QmpLost):
            # Silence is consent; and an agent whose guest goes down may take the channel with it.
            return

    async def _line(self, end: bytes) -> bytes:
        """What comes before the next ``end``."""
        while (found := self._buffer.find(end)) < 0:
            if len(self._buffer) > ANSWER_LIMIT:
                raise QmpLost(f"the agent sent more than {ANSWER_LIMIT} bytes without an end")
            data = await self._loop.sock_recv(self._sock, 65536)
            if not data:
                raise QmpLost("the agent's channel was closed")
            self._buffer += data
        line = bytes(self._buffer[:found])
        del self._buffer[: found + len(end)]
        return line


def _member(line: bytes, key: str) -> Any:
    """One member of a JSON object; None if the line is something else."""
    try:
        message = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return message.get(key) if isinstance(message, dict) else None

"""The QEMU guest agent: one command at a time, over a channel whose other end the guest controls.

The protocol is not quite QMP (``qemu-ga-ref``): no greeting, no events, and the channel may hold half an answer to
somebody else. Each call connects anew, resynchronises with ``guest-sync-delimited`` (the agent answers with a byte
0xFF before its reply) and speaks only then. Calls at the same time are served one after the other: QEMU accepts
one client of the channel. :class:`Agent` keeps the order among those who ask again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from qsup import endpoint
from qsup.errors import QmpBusy, QmpGarbled, QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp.session import printable

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ANSWER_LIMIT: Final = 4 << 20
"""Bytes that an agent may send in one call; all of it is the guest's to choose."""
CHUNK: Final = 64 << 10
"""Bytes that are received at a time."""
SYNC: Final = b"\xff"
GRACE: Final = 0.3
"""Seconds in which an agent refuses a command that has no answer when it works, such as ``guest-shutdown``."""
NO_ANSWER: Final = "the guest agent sent something that is no answer"

T = TypeVar("T")


class Ended(msgspec.Struct, frozen=True, rename={"status": "exitcode"}):
    """How a program in the guest has ended, if it has: its exit status, or the signal that killed it."""

    exited: bool
    status: int | None = None
    signal: int | None = None


class _Started(msgspec.Struct):
    pid: int


class Agent:
    """The agent of one run of a guest, for all who ask it: one at a time, and who is urgent comes first.

    An urgent conversation ends the others, those that wait included, and lets none begin until it is over: a
    guest that is to be shut down is asked at once, whatever a check is waiting for.
    """

    def __init__(self, directory: Path, file: str) -> None:
        self._directory = directory
        self._file = file
        self._line = asyncio.Lock()
        self._urgent = 0
        self._patient: set[asyncio.Timeout] = set()

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any],
        *,
        deadline: float = 5.0,
        expect_reply: bool = True,
        urgent: bool = False,
    ) -> Any:
        """As :func:`agent_execute`, the time in line included. Raises QmpBusy if somebody else has the agent."""
        if self._urgent and not urgent:
            raise QmpBusy(f"the guest agent is needed for something more urgent than {command}")
        turn = asyncio.timeout(deadline)
        began = False
        try:
            with self._rank(turn, urgent=urgent):
                async with turn, self._line:
                    began = True
                    return await agent_execute(
                        self._directory, self._file, command, arguments,
                        deadline=deadline, expect_reply=expect_reply,
                    )  # fmt: skip
        except TimeoutError:
            if began and (urgent or not self._urgent):
                raise QmpUnanswered(f"no guest agent answers {command} within {deadline:.3g} s") from None
            raise QmpBusy(f"the guest agent had no time for {command}, others ask it as well") from None

    async def ping(self, deadline: float) -> None:
        """Return once the agent answers. Raises QmpError."""
        await self.execute("guest-ping", {}, deadline=deadline)

    async def start(self, command: Sequence[str], deadline: float) -> int:
        """Start a program in the guest, its output thrown away; return its pid there. Raises QmpError."""
        path, *words = command
        arguments = {"path": path, "arg": words, "capture-output": False}
        answer = await self.execute("guest-exec", arguments, deadline=deadline)
        return _shaped(answer, _Started).pid

    async def ended(self, pid: int, deadline: float) -> Ended:
        """How a program that was started has ended, if it has; that is told once. Raises QmpError."""
        answer = await self.execute("guest-exec-status", {"pid": pid}, deadline=deadline)
        return _shaped(answer, Ended)

    @contextlib.contextmanager
    def _rank(self, turn: asyncio.Timeout, *, urgent: bool) -> Iterator[None]:
        """Count as urgent, and end the conversations of the others; or be one that can be ended."""
        if urgent:
            self._urgent += 1
            for other in self._patient:
                if not other.expired():
                    other.reschedule(asyncio.get_running_loop().time())
        else:
            self._patient.add(turn)
        try:
            yield
        finally:
            self._patient.discard(turn)
            self._urgent -= urgent


def _shaped(answer: Any, shape: type[T]) -> T:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise QmpGarbled(NO_ANSWER) from error


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
    does not execute the command; QmpLost if there is no channel or it ends; QmpGarbled if what comes is no answer.
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
                raise QmpGarbled(NO_ANSWER)

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
            raise QmpGarbled(f"the guest agent sent more than {ANSWER_LIMIT} bytes")
        self._buffer += data


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object in a line; empty if the line is something else."""
    try:
        message = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return message if isinstance(message, dict) else {}

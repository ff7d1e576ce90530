"""One QMP session, on qemu.qmp, made safe for a peer that may be hung, gone or hostile.

What qemu.qmp leaves open is closed here: every wait has a deadline; events are neither kept nor queued but handed
over in the order of the wire; what arrives is bounded in size and rate; nothing the peer sends reaches a log; and
the end of a session is told exactly once, whatever caused it.

qemu.qmp offers the hooks ``_cb_inbound``, ``_cb_outbound`` and ``_on_message`` to subclasses; a test pins their
names and those of the few other members used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec
from qemu.qmp import (
    ConnectError,
    ExecInterruptedError,
    ExecuteError,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)

from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp.bucket import Bucket
from qsup.qmp.deadlines import deadline as deadline_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from qemu.qmp import Message

# It logs whole messages of the peer, megabytes of garbage included; what matters is told by our own errors.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

LINE_LIMIT: Final = 1 << 20
"""Bytes; the largest answer to a command that a supervisor sends is the schema with some 400 kB."""
COMMAND_LIMIT: Final = 256 << 10
"""Bytes of a command that we send."""
IN_FLIGHT: Final = 8
"""Commands that QEMU queues for a monitor before it stops reading."""
RATE: Final = 2000.0
"""Messages a second that are read; beyond it the socket is left to fill up, which slows that QEMU alone."""
BURST: Final = 4000.0
EVENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
PARTING: Final = 1.0
"""Seconds that the reader of a session may take to notice that its socket has been shut down."""


class QmpEvent(msgspec.Struct, frozen=True):
    """An event, its types checked. What the data says is QEMU's word, and may be its guest's."""

    name: str
    data: dict[str, Any]


class _Client(QMPClient):
    """qemu.qmp's client without its logging, its event queue, and its trust."""

    def __init__(self, on_event: Callable[[QmpEvent], None]) -> None:
        super().__init__("qsup", readbuflen=LINE_LIMIT)
        self._hand_over = on_event
        self._bucket = Bucket(RATE, BURST)
        self.deaf = False
        """Whether the session is being closed: what is still unread then does not matter any more."""
        # The listener of all events would keep each of them for ever.
        self.events.event_filter = _nothing

    def _cb_inbound(self, msg: Message) -> Message:
        return msg

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    async def _on_message(self, msg: Message) -> None:
        wait = self._bucket.take(asyncio.get_running_loop().time())
        if wait:
            await asyncio.sleep(wait)
        if self.deaf:
            raise EOFError
        if "event" in msg:
            event = checked_event(msg)
            if event is not None:
                self._hand_over(event)
            return
        await super()._on_message(msg)


def _nothing(_message: object) -> bool:
    return False


def checked_event(message: Message) -> QmpEvent | None:
    """The event in a message, or None if it is none that QEMU would send."""
    name, data = message["event"], message.get("data", {})
    if not isinstance(name, str) or not EVENT_NAME.fullmatch(name) or not isinstance(data, dict):
        return None
    return QmpEvent(name, data)


class QmpSession:
    """A session with one QEMU; made by :meth:`connect`."""

    def __init__(
        self, sock: socket.socket, on_event: Callable[[QmpEvent], None], on_lost: Callable[[str], None]
    ) -> None:
        self._sock = sock
        self._on_lost = on_lost
        self._client = _Client(on_event)
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def connect(
        cls,
        sock: socket.socket,
        *,
        on_event: Callable[[QmpEvent], None],
        on_lost: Callable[[str], None],
        deadline: float = 5.0,
    ) -> QmpSession:
        """Shake hands over a connected socket, which the session owns from now on.

        ``on_event`` is called for each event, in the order of the wire; ``on_lost`` once, when the session ends
        other than by :meth:`close`, with the reason. Raises QmpUnanswered or QmpLost, and calls neither then.
        """
        session = cls(sock, on_event, on_lost)
        try:
            async with asyncio.timeout(deadline):
                await session._client.connect(sock)
        except TimeoutError:
            await session._abandon()
            raise QmpUnanswered(f"QEMU's monitor did not greet within {deadline:g} s") from None
        except asyncio.CancelledError:
            await session._abandon()
            raise
        except Exception as error:
            await session._abandon()
            raise QmpLost(f"QEMU's monitor is no use: {reason(error)}") from error
        session._watcher = asyncio.create_task(session._watch())
        return session

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        deadline: float | None = None,
        oob: bool = False,
    ) -> Any:
        """Execute a command and return its answer.

        Raises QmpRefused (not executed), QmpUnanswered (unknown: the deadline, seconds, has passed) or QmpLost
        (unknown: the session has ended).
        """
        patience = deadline_of(command) if deadline is None else deadline
        message = QMPClient.make_execute_msg(command, arguments, oob)
        if len(bytes(message)) > COMMAND_LIMIT:
            raise QmpRefused(f"{command}: the command is larger than {COMMAND_LIMIT} bytes")
        try:
            async with asyncio.timeout(patience), self._places:
                return await self._client.execute_msg(message)
        except TimeoutError:
            raise QmpUnanswered(f"QEMU did not answer {command} within {patience:g} s") from None
        except ExecuteError as error:
            raise QmpRefused(printable(error.error.error.desc), printable(error.error_class)) from error
        except (ExecInterruptedError, StateError, QMPError) as error:
            raise QmpLost(f"the QMP session ended before the answer to {command}") from error

    async def close(self) -> None:
        """Hang up, in milliseconds, whatever the peer does; ``on_lost`` is not called. May be called again."""
        self._closing = self._client.deaf = True
        self._shut()
        if self._watcher is not None:
            await asyncio.wait({self._watcher}, timeout=PARTING)
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def _watch(self) -> None:
        """Wait for the end of the session, bury the client, and tell."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        self._shut()
        why = "QEMU closed it"
        try:
            await self._client.disconnect()
        except Exception as error:
            # Not only QMPError: disconnect raises whatever ended the reader.
            why = reason(error)
        if not self._closing:
            self._on_lost(why)

    async def _abandon(self) -> None:
        """End a client that did not get through its handshake."""
        self._shut()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PARTING):
                await self._client.disconnect()
        self._sock.close()

    def _shut(self) -> None:
        # A flush to a peer that does not read would wait for ever; a socket that is shut down fails at once.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def reason(error: BaseException) -> str:
    """Why a session ended, without a word of the peer's."""
    inner = error.exc if isinstance(error, ConnectError) else error
    match inner:
        case EOFError():
            return "the connection was closed"
        case OSError():
            return f"the connection broke ({inner.strerror or type(inner).__name__})"
        case ValueError() if "limit" in str(inner)[:200]:
            return f"it sent a message of more than {LINE_LIMIT} bytes"
        case _:
            return f"it sent something that is not QMP ({type(inner).__name__})"


def printable(text: object) -> str:
    """The peer's words, short and harmless on a terminal."""
    short = str(text)[:500]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)

"""One QMP session, on qemu.qmp, made safe for a peer that may be hung, gone or hostile.

What qemu.qmp leaves open is closed here: every wait has a deadline; events are neither kept nor queued but handed
over in the order of the wire; no more goes out than the peer answers; and the end of a session is told exactly
once, whatever caused it. What comes in is bounded and checked by :class:`qsup.qmp.client.Client`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from qemu.qmp import (
    ConnectError,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)
from qemu.qmp.qmp_client import GreetingError, NegotiationError

from qsup.errors import QmpLost, QmpMute, QmpRefused, QmpUnanswered
from qsup.histogram import Histogram
from qsup.qmp.client import Client, NotQmpError
from qsup.qmp.deadlines import deadline as deadline_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from qsup.qmp.client import Observer

log = logging.getLogger(__name__)

COMMAND_LIMIT: Final = 256 << 10
"""Bytes of a command's arguments."""
IN_FLIGHT: Final = 8
"""Commands that QEMU queues for a monitor before it stops reading."""
EVENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
EVENT_LIMIT: Final = 64 << 10
"""Bytes of an event's data; no event of QEMU has a tenth of it."""
PARTING: Final = 1.0
"""Seconds that the reader of a session may take to notice that its socket has been shut down."""

T = TypeVar("T")


class QmpEvent(msgspec.Struct, frozen=True):
    """An event, its types checked. What the data says is QEMU's word, and may be its guest's."""

    name: str
    data: dict[str, Any]
    at: float | None = None
    """When it happened by QEMU's account: wall time in seconds, None if it does not know."""


def checked_event(message: Mapping[str, Any]) -> QmpEvent | None:
    """The event in a message, or None if it is none that QEMU would send."""
    name, data = message["event"], message.get("data", {})
    if not isinstance(name, str) or not EVENT_NAME.fullmatch(name) or not isinstance(data, dict):
        return None
    if len(msgspec.json.encode(data)) > EVENT_LIMIT:
        return None
    return QmpEvent(name, data, _timestamp(message.get("timestamp")))


def _timestamp(stamp: object) -> float | None:
    """QMP's timestamp as seconds; QEMU itself says -1 where the host has no clock."""
    match stamp:
        case {"seconds": int(seconds), "microseconds": int(micro)} if (
            0 <= seconds < 1 << 40 and 0 <= micro < 10**6
        ):
            return seconds + micro / 1e6
        case _:
            return None


class QmpSession:
    """A session with one QEMU; made by :meth:`connect`."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        on_event: Callable[[QmpEvent], None],
        on_lost: Callable[[str], None],
        observer: Observer | None = None,
        latency: Histogram | None = None,
    ) -> None:
        self.name = name
        self.malformed = 0
        """Events dropped because QEMU would not send such."""
        self._sock = sock
        self._on_event = on_event
        self._on_lost = on_lost
        self._client = Client(sock, self._event, observer)
        self._latency = latency or Histogram()
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._urgent = asyncio.Semaphore(IN_FLIGHT)
        self._owed: set[asyncio.Task[object]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def connect(
        cls,
        sock: socket.socket,
        *,
        name: str = "QEMU",
        on_event: Callable[[QmpEvent], None],
        on_lost: Callable[[str], None],
        deadline: float = 5.0,
        observer: Observer | None = None,
        latency: Histogram | None = None,
    ) -> QmpSession:
        """Shake hands over a connected socket, which the session owns from now on.

        ``on_event`` is called for each event, in the order of the wire; ``on_lost`` once, when the session ends
        other than by :meth:`close`, with the reason. Raises QmpUnanswered or QmpLost, and does not call ``on_lost``
        then. ``name`` is what messages call the peer. ``observer`` sees all that goes over the wire, the handshake
        included; ``latency`` counts how long answers took.
        """
        session = cls(sock, name, on_event, on_lost, observer, latency)
        handshake = asyncio.ensure_future(session._client.connect(sock))
        in_time, why = False, ""
        try:
            in_time = bool((await asyncio.wait({handshake}, timeout=deadline))[0])
            if in_time and handshake.exception() is None:
                session._watcher = asyncio.create_task(session._watch())
                return session
        finally:
            if session._watcher is None:
                why = await session._abandon(handshake)
        if in_time:
            raise QmpLost(f"the QMP monitor of {name} is no use: {why}") from handshake.exception()
        if session._client.greeting is not None:
            raise QmpMute(f"{name} greeted on its QMP monitor, and answered nothing within {deadline:g} s")
        raise QmpUnanswered(f"{name} did not greet within {deadline:g} s on its QMP monitor")

    @property
    def version(self) -> str:
        """QEMU's version, as it greeted: ``7.2.22``."""
        greeting = self._client.greeting
        match greeting.QMP.version if greeting else None:
            case {"qemu": {"major": int(major), "minor": int(minor), "micro": int(micro)}}:
                return printable(f"{major}.{minor}.{micro}")
            case _:
                return "unknown"

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
        (unknown: the session has ended). ``oob`` has QEMU execute it at once, before others and beside a main loop
        that hangs; few commands allow that (``docs/interop/qmp-spec``).
        """
        patience = deadline_of(command) if deadline is None else deadline
        message = QMPClient.make_execute_msg(command, _plain(command, arguments), oob)
        sent = False
        try:
            async with asyncio.timeout(patience):
                await (self._urgent if oob else self._places).acquire()
                sent = True
                # If the deadline passes the answer is still owed, and keeps its place until it comes.
                return await asyncio.shield(self._issue(message, oob=oob))
        except TimeoutError:
            if sent:
                raise QmpUnanswered(f"{self.name} did not answer {command} within {patience:g} s") from None
            ahead = f"{IN_FLIGHT} commands before it are still unanswered"
            raise QmpUnanswered(
                f"{self.name} was not sent {command} within {patience:g} s: {ahead}"
            ) from None
        except ExecuteError as error:
            raise QmpRefused(printable(error.error.error.desc), printable(error.error_class)) from error
        except (ExecInterruptedError, StateError) as error:
            raise QmpLost(f"the QMP session with {self.name} ended before the answer to {command}") from error
        except QMPError as error:
            raise QmpUnanswered(f"{self.name} answered {command} with what is no answer") from error

    async def close(self, *, hang_up: bool = True) -> None:
        """End the session, in milliseconds, whatever the peer does; ``on_lost`` is not called. May be called again.

        Without ``hang_up`` the peer does not notice as long as somebody else holds the connection.
        """
        self._closing = True
        if hang_up:
            self._client.hang_up()
        else:
            self._client.let_go()
        if self._watcher is not None:
            await asyncio.wait({self._watcher}, timeout=PARTING)
            self._watcher.cancel()
            await asyncio.gather(self._watcher, *self._owed, return_exceptions=True)

    def _issue(self, message: Message, *, oob: bool) -> asyncio.Task[object]:
        """Send a command for which a place is taken; the task ends with the answer or with the session."""
        now = asyncio.get_running_loop().time
        began = now()

        def settled(task: asyncio.Task[object]) -> None:
            self._owed.discard(task)
            # Nobody may be waiting for what it raised any more: the deadline had passed.
            if not task.cancelled() and isinstance(task.exception(), ExecuteError | None):
                self._latency.observe(now() - began)
            (self._urgent if oob else self._places).release()

        task = asyncio.create_task(self._client.execute_msg(message))
        self._owed.add(task)
        task.add_done_callback(settled)
        return task

    def _event(self, message: Message) -> None:
        event = checked_event(message)
        if event is None:
            self.malformed += 1
        else:
            _tell(self._on_event, event)

    async def _watch(self) -> None:
        """Wait for the end of the session, bury the client, and tell."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        why = await self._bury()
        if not self._closing:
            _tell(self._on_lost, why)

    async def _abandon(self, handshake: asyncio.Future[None]) -> str:
        """End a client that did not get through its handshake; return why it did not.

        It is not cancelled: qemu.qmp would flush to a peer that may not read. Its socket fails it instead.
        """
        self._client.hang_up()
        await asyncio.wait({handshake})
        why = reason(handshake.exception())
        if self._client.runstate is not Runstate.IDLE:
            # The peer hung up right after the handshake, which qemu.qmp meets with a failed assertion of its own.
            why = await self._bury()
        self._sock.close()
        return why

    async def _bury(self) -> str:
        """Have the client end its tasks; return what ended them."""
        self._client.hang_up()
        try:
            await self._client.disconnect()
        except Exception as error:
            # Not only QMPError: disconnect raises whatever ended the reader.
            return reason(error)
        return reason(None)


def _tell(callback: Callable[[T], None], value: T) -> None:
    """Call back; a bug there must not end the session of a guest that does nothing wrong."""
    try:
        callback(value)
    except Exception:
        log.exception("a bug in qsup: what came over QMP could not be handled")


def _plain(command: str, arguments: dict[str, Any] | None) -> dict[str, Any] | None:
    """A copy of the arguments as they will be on the wire; what QEMU could not parse would end the session."""
    if arguments is None:
        return None
    try:
        encoded = msgspec.json.encode(arguments)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise QmpRefused(f"{command}: its arguments cannot be written as JSON ({error})") from error
    if len(encoded) > COMMAND_LIMIT:
        raise QmpRefused(f"{command}: its arguments are larger than {COMMAND_LIMIT} bytes")
    plain: dict[str, Any] = msgspec.json.decode(encoded)
    return plain


def reason(error: BaseException | None) -> str:
    """Why a session ended, without a word of the peer's."""
    while isinstance(error, ConnectError | GreetingError | NegotiationError):
        error = error.exc
    match error:
        case NotQmpError():
            return str(error)
        case EOFError() | None:
            return "the connection was closed"
        case OSError():
            return f"the connection broke ({error.strerror or type(error).__name__})"
        case _:
            return "it does not speak QMP"


def printable(text: object) -> str:
    """The peer's words, short and harmless on a terminal."""
    short = str(text)[:500]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)

"""qemu.qmp's client without its logging, its event queue and its trust in the peer.

What it gets from its peer is bounded in size and rate before it is parsed, parsed strictly, and shown to nobody.
``_do_recv``, ``_do_send``, ``_on_message`` and the two ``_cb_`` methods are what qemu.qmp leaves to subclasses; a
test pins their names and those of the few other members used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from qemu.qmp import Message, QMPClient, QMPError

from qsup.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

# It logs whole messages of the peer, megabytes of garbage included; what matters is told by our own errors.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

LINE_LIMIT: Final = 1 << 20
"""Bytes; the largest answer to a command that a supervisor sends is the schema with some 400 kB."""
RATE: Final = 2000.0
"""Messages a second that are read; beyond it the socket is left to fill up, which slows that QEMU alone."""
BURST: Final = 4000.0
SHARE: Final = 256
"""Bytes that count as one more message: parsing a long line takes the time of many short ones."""


class NotQmpError(QMPError):
    """The peer has broken the protocol. The message is ours, and holds nothing of the peer's."""


class _Sealed(Message):
    """A message that nobody can print: qemu.qmp renders messages for its log even if nothing is logged."""

    def __str__(self) -> str:
        return "a message"


class Observer(Protocol):
    """Sees every message of a session, both ways, in the order of the wire; it is called at once and must be quick."""

    def sent(self, message: Mapping[str, Any], data: bytes) -> None:
        """A command goes out; ``data`` is what it is on the wire."""

    def received(self, line: bytes) -> None:
        """The peer has sent a line, of any content within ``LINE_LIMIT``."""


class Client(QMPClient):
    """A client of one connection over ``sock``; ``on_event`` gets every event as it is, in the order of the wire."""

    def __init__(
        self, sock: socket.socket, on_event: Callable[[Message], None], observer: Observer | None = None
    ) -> None:
        # Loggers are made per name and never freed, so all clients share one.
        super().__init__("qsup", readbuflen=LINE_LIMIT)
        self._sock = sock
        self._on_event = on_event
        self._observer = observer
        self._bucket = Bucket(RATE, BURST)
        self._hung_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The listener of all events would keep each of them for ever.
        self.events.event_filter = _nothing

    def hang_up(self) -> None:
        """Have the connection end within milliseconds; what has not been read yet is not read any more.

        Needed before any ``disconnect``: that flushes what a peer may never read, but a socket that is shut down
        fails at once.
        """
        if not self._hung_up.done():
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._hung_up.set_result(None)

    def let_go(self) -> None:
        """End our side as quickly; the connection itself stays, for whoever else holds it."""
        if self._writer is not None and not self._hung_up.done():
            self._writer.transport.abort()
            self._hung_up.set_result(None)

    def _cb_inbound(self, msg: Message) -> Message:
        return msg

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    async def _do_recv(self) -> Message:
        try:
            line = await self._readline()
        except ValueError:
            raise NotQmpError(f"it sent a line of more than {LINE_LIMIT} bytes") from None
        if not line.endswith(b"\n"):
            # It died while it wrote: that is an end, not garbage.
            raise EOFError
        wait = self._bucket.take(asyncio.get_running_loop().time(), 1 + len(line) / SHARE)
        if wait:
            await asyncio.wait({self._hung_up}, timeout=wait)
        if self._hung_up.done():
            raise EOFError
        if self._observer is not None:
            _tell(self._observer.received, line)
        return decode(line)

    def _do_send(self, msg: Message) -> None:
        """Write past the transport as long as it holds nothing back.

        A transport that finds the peer gone when it writes drops what the peer said before it went: the SHUTDOWN of
        a QEMU that has just ended would be lost to a query sent in the same moment. The reader meets the end soon.
        """
        if self._writer is None:
            raise EOFError
        data = bytes(msg)
        if self._observer is not None:
            _tell(self._observer.sent, msg, data)
        if self._writer.transport.get_write_buffer_size() == 0:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return
        if data:
            self._writer.write(data)

    async def _on_message(self, msg: Message) -> None:
        if "event" in msg:
            self._on_event(msg)
        elif isinstance(msg.get("id"), str):
            await super()._on_message(msg)
        else:
            # QEMU answers without an id when it could not parse a command, which no later answer would tell.
            raise NotQmpError("it sent an answer that belongs to no command")


def decode(line: bytes) -> Message:
    """The message in a line, strictly: no half surrogates, no NaN, no numbers beyond reason. Raises NotQmpError."""
    try:
        parsed = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotQmpError("it sent something that is not JSON") from None
    if not isinstance(parsed, dict):
        raise NotQmpError("it sent something that is not a QMP message")
    return _Sealed(parsed, eager=False)


def _nothing(_message: object) -> bool:
    return False


def _tell(observe: Callable[..., None], *what: object) -> None:
    """Call an observer; a bug there must not end the session of a guest that does nothing wrong."""
    try:
        observe(*what)
    except Exception:
        log.exception("a bug in qsup: a QMP message could not be observed")

"""One client of the control socket: its handshake, its commands one after the other, its events, its console.

Three tasks live as long as the connection: one that answers, one that passes events on, one that waits for the
client to go away. The first to end ends all: a client that goes away thereby ends its own waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from qsup.access.peer import has_gone
from qsup.bus import Overrun
from qsup.control import protocol
from qsup.control.arguments import parse
from qsup.control.commands import TAIL, GuestConsole
from qsup.control.framing import ProtocolError, Splitter
from qsup.control.tail import last_lines
from qsup.errors import NotAllowed, QsupError

if TYPE_CHECKING:
    import socket

    from qsup.bus import Bus
    from qsup.control.caller import Caller
    from qsup.control.facade import Console
    from qsup.control.handlers import Handlers
    from qsup.control.limits import Limits
    from qsup.control.places import Room

log: Final = logging.getLogger(__name__)

CHUNK: Final = 64 * 1024
"""How much is read at a time; asyncio stops reading from the socket at twice as much."""

FAREWELL: Final = 1.0
"""How long a client may take to read the last of its output once its connection is to end, in seconds."""

_LINE_END: Final = re.compile(rb"\A\r?\n")


class Dropped(Exception):
    """The client does not read, or has gone."""


class Inbox(asyncio.StreamReader):
    """A stream that tells when its end has arrived, though what came before has not been read yet."""

    def __init__(self) -> None:
        super().__init__(limit=CHUNK)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        """Called by asyncio when the peer will not send any more."""
        super().feed_eof()
        self.ended.set()

    def set_exception(self, _exc: Exception) -> None:
        """Called by asyncio when the peer has gone without reading all; what it has sent before counts."""
        self.feed_eof()


class Connection:
    """Serves one client; ``run`` ends when the connection has ended, and leaves nothing behind."""

    def __init__(
        self,
        inbox: Inbox,
        writer: asyncio.StreamWriter,
        caller: Caller,
        room: Room,
        handlers: Handlers,
        bus: Bus,
        limits: Limits,
    ) -> None:
        self._inbox = inbox
        self._writer = writer
        # asyncio wraps the socket in an object that lacks some of its methods, but none that is used here.
        self._socket = cast("socket.socket", writer.get_extra_info("socket"))
        self._caller = caller
        self._room = room
        self._handlers = handlers
        self._bus = bus
        self._limits = limits
        self._splitter = Splitter(limits.message)
        self._negotiated = False
        self._console: tuple[GuestConsole, Console] | None = None
        self._typed = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client goes, breaks the protocol, or does not read what it is sent."""
        try:
            async with asyncio.TaskGroup() as group:
                parts = (self._serve(), self._pass_events(), self._until_gone())
                tasks = [group.create_task(part) for part in parts]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except* (Dropped, Overrun, ConnectionError) as reasons:
            log.debug("client %s dropped: %s", self._caller, "; ".join(map(repr, reasons.exceptions)))
            self._writer.transport.abort()
        finally:
            await self._close()

    async def refuse(self, error: QsupError) -> None:
        """Tell the client why it is not served, and close."""
        self._writer.write(protocol.encode_error(error))
        await self._close()

    async def _serve(self) -> None:
        try:
            await self._caller.identify()
            self._caller.check_known()
            self._send(protocol.greeting())
            await self._negotiate()
            while self._console is None and await self._answer_next():
                pass
            if self._console:
                await self._relay(*self._console)
        except (ProtocolError, NotAllowed) as error:
            self._send(protocol.encode_error(error))

    async def _negotiate(self) -> None:
        try:
            async with asyncio.timeout(self._limits.handshake):
                while not self._negotiated and await self._answer_next():
                    pass
        except TimeoutError:
            raise ProtocolError(f"no qmp_capabilities within {self._limits.handshake:g} s") from None

    async def _answer_next(self) -> bool:
        """Execute and answer one message; False if the client has ended its side of the stream."""
        message = await self._message()
        if message is None:
            return False
        async with self._room.turn():
            self._send(await self._answer(message))
        await self._writer.drain()
        return True

    async def _message(self) -> bytes | None:
        while (message := self._splitter.take()) is None:
            data = await self._inbox.read(CHUNK)
            if not data:
                return None
            self._splitter.add(data)
        return message

    async def _answer(self, message: bytes) -> bytes:
        id_: Any = msgspec.UNSET
        try:
            request = protocol.decode(message)
            id_ = request.id
            return protocol.encode_return(await self._execute(request), id_)
        except protocol.RequestError as error:
            return protocol.encode_error(error, error.id)
        except QsupError as error:
            if isinstance(error, NotAllowed):
                self._handlers.refused(error)
            return protocol.encode_error(error, id_)
        except Exception as error:
            # A bug must cost one answer, not the connection, and its traceback is for the log, not for the client.
            log.exception("internal error in answer to %s", self._caller)
            told = QsupError(f"internal error ({type(error).__name__}); the daemon's log says more")
            return protocol.encode_error(told, id_)

    async def _execute(self, request: protocol.Request) -> Any:
        protocol.check_mode(request, negotiated=self._negotiated)
        if not self._negotiated:
            self._negotiated = True
            return {}
        command = parse(request)
        if isinstance(command, GuestConsole):
            attached, console = self._handlers.console(command, self._caller)
            self._console = command, console
            return attached
        return await self._handlers.answer(command, self._caller)

    async def _pass_events(self) -> None:
        with self._bus.subscribe() as events:
            async for event in events:
                if self._negotiated and self._console is None and self._caller.standing.hears(event.guest):
                    self._send(protocol.encode_event(event))

    async def _until_gone(self) -> None:
        await self._inbox.ended.wait()
        if not has_gone(self._socket):
            # The client only has nothing more to say; it still listens. Then it is for _serve to end this.
            await asyncio.get_running_loop().create_future()
        if self._console is not None:
            await self._typed.wait()

    async def _relay(self, command: GuestConsole, console: Console) -> None:
        """Be the client's serial line until one side closes; what it typed before it went still reaches the guest."""
        with console.attach() as output:
            self._send(last_lines(console.tail(TAIL), command.tail) if command.tail else b"")
            async with asyncio.TaskGroup() as group:
                typing = group.create_task(self._type(command, console))
                async for data in output:
                    if has_gone(self._socket):
                        await self._typed.wait()
                        break
                    self._caller.check(command, [command.name])
                    self._send(data)
                    await self._writer.drain()
                typing.cancel()

    async def _type(self, command: GuestConsole, console: Console) -> None:
        # The end of the line that the command stood on is not typed, if the client writes lines.
        data = _LINE_END.sub(b"", self._splitter.rest())
        while data or (data := await self._inbox.read(CHUNK)):
            self._caller.check(command, [command.name])
            if not command.read_only:
                # What is typed while the guest is off is lost, as on the cable of a machine without power.
                with contextlib.suppress(QsupError):
                    await console.write(data)
            data = b""
        self._typed.set()

    def _send(self, data: bytes) -> None:
        """Queue output; raise Dropped if too much of it lies there unread."""
        transport = self._writer.transport
        if transport.is_closing():
            raise Dropped("it has gone")
        if transport.get_write_buffer_size() > self._limits.pending:
            raise Dropped(f"it left more than {self._limits.pending} bytes unread")
        self._writer.write(data)

    async def _close(self) -> None:
        """Close after what was sent has left, or after a moment without that."""
        self._writer.close()
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(FAREWELL):
                    await self._writer.wait_closed()
        finally:
            # A second cancellation, when the whole server closes, must not leave the socket open either.
            self._writer.transport.abort()

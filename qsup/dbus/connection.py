"""A connection to a message bus of D-Bus: calls with deadlines, and signals of those services that are meant.

Only a host with systemd has anybody to talk to there, so dbus-fast is not loaded, and nothing is connected, before
there is something to say. What was lost is connected anew by the next call, and at once while somebody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from qsup.errors import DBusError, DBusUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

log = logging.getLogger(__name__)

DEADLINE: Final = 10.0
"""Seconds for an answer; systemd answers nobody while it reads all units again, which may take a few."""
SYSTEM_BUS: Final = "unix:path=/run/dbus/system_bus_socket"
RETRY: Final = (0.1, 1.0, 5.0, 30.0)
"""Seconds between tries to reach a bus that was lost while somebody listens; the last one again and again."""
PARTING: Final = 1.0
"""Seconds that hanging up may take."""
QUEUED: Final = 256
"""Signals that may wait to be looked at; any user of the host may send us as many as the bus lets through."""


class Thing(NamedTuple):
    """An object of a service on the bus, under one of its interfaces."""

    service: str
    path: str
    interface: str


BUS: Final = Thing("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
"""The bus itself."""


class Reply(NamedTuple):
    """What a method has returned; a value of type ``h`` is an index into ``fds``, which are the caller's to close."""

    values: list[Any]
    fds: list[int]


class Signal(NamedTuple):
    """What a service has told."""

    path: str
    values: list[Any]


Hear: TypeAlias = "Callable[[Signal], None]"


class _Listener(NamedTuple):
    service: str
    interface: str
    member: str
    hear: Hear
    rule: str | None
    """What the bus has to be asked for; None where the service sends the signal to us alone."""


def system_bus() -> str:
    """The address of the system's bus."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS


def user_bus() -> str | None:
    """The address of this user's bus; None if there is none."""
    if told := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return told
    socket = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/bus"
    return f"unix:path={socket}" if os.path.exists(socket) else None


class Connection:
    """One bus. ``run`` is its task, without which no signal is heard; ``close`` it in the end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._listeners: list[_Listener] = []
        self._owners: dict[str, str] = {}
        self._signals: asyncio.Queue[Message] = asyncio.Queue(QUEUED)
        self._lost = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def name(self) -> str | None:
        """Our own name on the bus, while there is a connection."""
        return self._bus.unique_name if self._bus is not None and self._bus.connected else None

    async def call(
        self,
        thing: Thing,
        method: str,
        signature: str = "",
        *values: Any,
        fds: Sequence[int] = (),
        deadline: float = DEADLINE,
    ) -> Reply:
        """Call a method and wait for what it returns; a value of type ``h`` is an index into ``fds``.

        Raises DBusError if the other side refuses; DBusUnreachable if it does not answer, so that it is unknown
        whether it was done.
        """
        try:
            async with asyncio.timeout(deadline):
                bus = await self._connected()
                answer = await bus.call(_message(thing, method, signature, values, fds))
        except TimeoutError:
            told = f"{thing.service} has not answered {method} within {deadline:g} s"
            raise DBusUnreachable(told) from None
        except (OSError, EOFError) as error:
            raise self._unreachable(error) from error
        if answer is None:
            raise self._unreachable(None)
        return _returned(answer)

    async def get(self, thing: Thing, name: str, *, deadline: float = DEADLINE) -> Any:
        """The value of a property. Raises DBusError, DBusUnreachable."""
        properties = thing._replace(interface="org.freedesktop.DBus.Properties")
        return (await self.call(properties, "Get", "ss", thing.interface, name, deadline=deadline)).values[0]

    @contextlib.asynccontextmanager
    async def listening(
        self, service: str, interface: str, member: str, hear: Hear, *, where: str = ""
    ) -> AsyncIterator[None]:
        """Hear a signal that a service tells everybody; ``where`` is more of a match rule: ``arg2='a.scope'``.

        Raises DBusError, DBusUnreachable.
        """
        rule = f"type='signal',sender='{service}',interface='{interface}',member='{member}'"
        rule = f"{rule},{where}" if where else rule
        await self.call(BUS, "AddMatch", "s", rule)
        try:
            with self._heard(_Listener(service, interface, member, hear, rule)):
                yield
        finally:
            self._tell(BUS, "RemoveMatch", "s", rule)

    @contextlib.contextmanager
    def addressed(self, service: str, interface: str, member: str, hear: Hear) -> Iterator[None]:
        """Hear a signal that a service sends to us alone."""
        with self._heard(_Listener(service, interface, member, hear, None)):
            yield

    @contextlib.contextmanager
    def _heard(self, listener: _Listener) -> Iterator[None]:
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def run(self) -> None:
        """Hand signals to those who listen, and keep the connection for them, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            while True:
                message = await self._signals.get()
                await self._hand_on(message)

    async def _hand_on(self, message: Message) -> None:
        """Any user may send us any signal; only that of the service itself is one."""
        for listener in [*self._listeners]:
            if _matches(listener, message) and await self._is_from(message, listener.service):
                try:
                    listener.hear(Signal(message.path or "", message.body))
                except Exception:
                    log.exception("a bug in qsup: the signal %s could not be handled", message.member)

    async def _is_from(self, message: Message, service: str) -> bool:
        # A unique name is never given twice, so who once was the service has not become somebody else.
        if message.sender != self._owners.get(service):
            try:
                reply = await self.call(BUS, "GetNameOwner", "s", service)
            except (DBusError, DBusUnreachable):
                return False
            self._owners[service] = reply.values[0]
        return bool(message.sender == self._owners[service])

    async def _keep(self) -> None:
        """Connect anew what was lost, as long as somebody listens."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            tries = 0
            while self.name is None and self._listeners:
                try:
                    await self.call(BUS, "GetId")
                except (DBusError, DBusUnreachable):
                    await asyncio.sleep(RETRY[min(tries, len(RETRY) - 1)])
                    tries += 1

    async def _connected(self) -> MessageBus:
        """The connection, made now if there is none. Raises OSError, DBusUnreachable."""
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                self._bus = await self._connect()
                for rule in sorted({listener.rule for listener in self._listeners if listener.rule}):
                    self._tell(BUS, "AddMatch", "s", rule)
            return self._bus

    async def _connect(self) -> MessageBus:
        try:
            quiet = await asyncio.to_thread(importlib.import_module, "qsup.dbus.quiet")
        except ImportError as error:
            raise DBusUnreachable(f"D-Bus cannot be spoken: {error}; install dbus-fast") from error
        from dbus_fast import errors

        try:
            bus: MessageBus = quiet.QuietBus(self.address, negotiate_unix_fd=True)
            await bus.connect()
        except (errors.AuthError, errors.InvalidAddressError, errors.DBusError, ValueError) as error:
            raise DBusUnreachable(f"{self.address} lets nobody in: {error}") from error
        self._owners.clear()
        bus.add_message_handler(self._hear)
        self._watch = asyncio.create_task(self._watch_over(bus))
        return bus

    async def _watch_over(self, bus: MessageBus) -> None:
        """Tell when a connection is lost."""
        with contextlib.suppress(Exception):
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast leaves it untyped
        self._lost.set()

    def _hear(self, message: Message) -> None:
        if any(_matches(listener, message) for listener in self._listeners):
            with contextlib.suppress(asyncio.QueueFull):
                self._signals.put_nowait(message)

    def _tell(self, thing: Thing, method: str, signature: str, *values: Any) -> None:
        """Call a method whose answer nobody waits for."""
        from dbus_fast import MessageFlag

        if self._bus is not None and self._bus.connected:
            message = _message(thing, method, signature, values, ())
            message.flags = MessageFlag.NO_REPLY_EXPECTED
            self._bus.send(message)

    def _unreachable(self, error: BaseException | None) -> DBusUnreachable:
        why = getattr(error, "strerror", None) or str(error or "") or "the other side hung up"
        return DBusUnreachable(f"the bus {self.address} cannot be reached: {why}")

    async def close(self) -> None:
        """Hang up."""
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            bus.disconnect()
        if self._watch is not None:
            await asyncio.wait({self._watch}, timeout=PARTING)
            self._watch.cancel()


def variant(signature: str, value: Any) -> Any:
    """A value that brings its own type along."""
    from dbus_fast import Variant

    return Variant(signature, value)


def _message(thing: Thing, method: str, signature: str, values: Sequence[Any], fds: Sequence[int]) -> Message:
    from dbus_fast import Message

    return Message(
        destination=thing.service,
        path=thing.path,
        interface=thing.interface,
        member=method,
        signature=signature,
        body=[*values],
        unix_fds=[*fds],
    )


def _returned(answer: Message) -> Reply:
    from dbus_fast import MessageType
    from dbus_fast.unpack import unpack_variants

    if answer.message_type is not MessageType.ERROR:
        return Reply(unpack_variants(answer.body), [*answer.unix_fds])
    for fd in answer.unix_fds:
        os.close(fd)
    said = answer.body[0] if answer.body and isinstance(answer.body[0], str) else "it does not say why"
    raise DBusError(answer.error_name or "", said)


def _matches(listener: _Listener, message: Message) -> bool:
    return (message.interface, message.member) == (listener.interface, listener.member)

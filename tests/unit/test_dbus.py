"""The connection to a message bus: on a real dbus-daemon of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from qsup.dbus import connection
from qsup.dbus.connection import BUS, Connection, Signal, Thing
from qsup.errors import DBusError, DBusUnreachable
from tests.fakes.message_bus import MessageBus, message_bus, service

SERVICE = "org.example.Service"
THING = Thing(SERVICE, "/thing", "org.example.Thing")
PATIENCE = 10.0


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[MessageBus]:
    with message_bus(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def connected(bus: MessageBus) -> AsyncIterator[Connection]:
    """A connection whose task runs."""
    made = Connection(bus.address)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.run())
        try:
            async with asyncio.timeout(PATIENCE):
                yield made
        finally:
            task.cancel()
            await made.close()


def echo(call: Any) -> Any:
    """Return what was given; of a variant, as a variant."""
    from dbus_fast import Message

    if call.member == "Refuse":
        return Message.new_error(call, "org.example.No", "not today")
    if call.member == "Silence":
        return None
    return Message.new_method_return(call, call.signature, call.body, call.unix_fds)


def told(path: str = "/thing", member: str = "Happened", to: str | None = None) -> Any:
    """A signal, to all or to one."""
    from dbus_fast import Message, MessageType

    return Message(
        message_type=MessageType.SIGNAL, destination=to, path=path, interface=THING.interface, member=member,
        signature="s", body=["news"],
    )  # fmt: skip


def test_nothing_is_loaded_before_somebody_has_to_be_talked_to() -> None:
    code = "import sys, qsup.dbus.connection; print('dbus_fast' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"


async def test_a_call_returns_what_the_service_says_with_its_fds(bus: MessageBus) -> None:
    async with service(bus, SERVICE, echo), connected(bus) as mine:
        variant = connection.variant("t", 7)
        assert (await mine.call(THING, "Echo", "sa(sv)", "a", [["b", variant]])).values == ["a", [("b", 7)]]
        reading, writing = os.pipe()
        reply = await mine.call(THING, "Echo", "h", 0, fds=[reading])
        os.write(writing, b"x")
        assert os.read(reply.fds[reply.values[0]], 1) == b"x"
        for fd in {reading, writing, *reply.fds}:
            os.close(fd)


async def test_what_goes_wrong_is_told_apart(bus: MessageBus) -> None:
    async with service(bus, SERVICE, echo), connected(bus) as mine:
        with pytest.raises(DBusError, match="not today") as refused:
            await mine.call(THING, "Refuse")
        assert refused.value.name == "org.example.No"
        with pytest.raises(DBusUnreachable, match=r"org\.example\.Service has not answered Silence within"):
            await mine.call(THING, "Silence", deadline=0.05)
        with pytest.raises(DBusError) as unknown:
            await mine.call(THING._replace(service="org.example.Nobody"), "Echo")
        assert unknown.value.name == "org.freedesktop.DBus.Error.ServiceUnknown"


async def test_a_bus_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    for address in (f"unix:path={tmp_path}/none", "nonsense", "unix:path=/dev/null"):
        mine = Connection(address)
        with pytest.raises(DBusUnreachable):
            await mine.call(THING, "Echo")
        assert mine.name is None


async def test_a_bus_that_hangs_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        mine = Connection(f"unix:path={tmp_path}/bus")
        with pytest.raises(DBusUnreachable, match="has not answered Echo"):
            await mine.call(THING, "Echo", deadline=0.1)


async def test_a_call_that_the_bus_loses_is_told_and_the_next_one_connects_anew(bus: MessageBus) -> None:
    async with connected(bus) as mine:
        async with service(bus, SERVICE, echo):
            waiting = asyncio.ensure_future(mine.call(THING, "Silence"))
            while mine.name is None:
                await asyncio.sleep(0)
            bus.stop()
            with pytest.raises(DBusUnreachable, match="cannot be reached"):
                await waiting
        bus.start()
        async with service(bus, SERVICE, echo):
            assert (await mine.call(THING, "Echo", "s", "again")).values == ["again"]


async def test_a_bus_that_is_lost_as_somebody_speaks_leaves_nothing_for_asyncio_to_complain_of(
    bus: MessageBus, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Connection(bus.address)
    await mine.call(BUS, "GetId")
    bus.stop()
    # Nobody has looked at the connection since.
    with pytest.raises(DBusUnreachable, match="cannot be reached"):
        await mine.call(THING, "Echo")
    await mine.close()
    gc.collect()
    assert not caplog.records


async def test_a_signal_is_heard_only_while_somebody_listens(bus: MessageBus) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    async with service(bus, SERVICE, echo) as its, connected(bus) as mine:
        where = "path='/thing'"
        async with mine.listening(SERVICE, THING.interface, "Happened", heard.put_nowait, where=where):
            await its.send(told("/other"))
            await its.send(told())
            assert await heard.get() == Signal("/thing", ["news"])
        await its.send(told())
        await mine.call(THING, "Echo")
        assert heard.empty()


async def test_a_signal_of_somebody_else_is_not_heard(bus: MessageBus) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    async with (
        service(bus, SERVICE, echo) as its,
        service(bus, None, echo) as liar,
        connected(bus) as mine,
    ):
        await mine.call(THING, "Echo")
        with mine.addressed(SERVICE, THING.interface, "Happened", heard.put_nowait):
            await liar.send(told("/lie", to=mine.name))
            await its.send(told("/truth", to=mine.name))
            assert (await heard.get()).path == "/truth"
            assert heard.empty()


async def test_who_listens_goes_on_hearing_after_the_bus_was_lost(bus: MessageBus) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    async with connected(bus) as mine, mine.listening(SERVICE, THING.interface, "Happened", heard.put_nowait):
        bus.stop()
        bus.start()
        async with service(bus, SERVICE, echo) as its:
            while mine.name is None:
                await asyncio.sleep(0.01)
            # What it asks of the bus first, it has asked before this.
            await mine.call(THING, "Echo")
            await its.send(told())
            assert (await heard.get()).values == ["news"]


async def test_a_bug_in_who_listens_harms_nobody_else(
    bus: MessageBus, caplog: pytest.LogCaptureFixture
) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()

    def stumble(signal: Signal) -> None:
        raise ValueError(signal.path)

    async with (
        service(bus, SERVICE, echo) as its,
        connected(bus) as mine,
        mine.listening(SERVICE, THING.interface, "Happened", stumble),
        mine.listening(SERVICE, THING.interface, "Happened", heard.put_nowait),
    ):
        await its.send(told())
        await heard.get()
    assert "Happened could not be handled" in caplog.text

"""No power-off under a running stop, and rest while the host sleeps: with a logind of the test's on a real bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from qsup import power as module
from qsup.dbus.connection import BUS
from qsup.dbus.logind import MANAGER, SERVICE
from qsup.errors import QmpError, Refused
from qsup.events import Event, Kind
from qsup.phase import Phase, Verb
from qsup.power import Power
from tests.fakes.message_bus import MessageBus, message_bus, service

PATIENCE = 10.0


class Guests:
    """Guests that do at once what they are told, but for one that refuses."""

    def __init__(self) -> None:
        self.now = {"runs": Phase.RUNNING, "deaf": Phase.RUNNING, "off": Phase.STOPPED, "rests": Phase.PAUSED}
        self.orders: list[tuple[str, str]] = []
        self.clocks: list[str] = []
        self.changed = asyncio.Event()

    def phases(self) -> dict[str, Phase]:
        return self.now

    async def command(self, name: str, verb: Verb, *, by: str) -> str:
        assert "the host" in by
        if name == "deaf":
            raise Refused("deaf: no")
        self.orders.append((verb.value, name))
        self.now[name] = {Verb.PAUSE: Phase.PAUSED, Verb.RESUME: Phase.RUNNING}[verb]
        return "done"

    async def phase(self, name: str, phase: Phase) -> None:
        if self.now[name] is not phase:
            raise TimeoutError

    async def agent(self, name: str, command: str, arguments: dict[str, Any]) -> Any:
        assert (command, set(arguments)) == ("guest-set-time", {"time"})
        self.clocks.append(name)
        self.changed.set()
        raise QmpError("no guest agent answers")


class Logind:
    """What was inhibited, and by which pipe one sees that it is not any more."""

    def __init__(self) -> None:
        self.inhibited: asyncio.Queue[tuple[list[str], int, int]] = asyncio.Queue()
        self.client: Any = None
        self.falls_asleep = False
        self._asked = asyncio.Event()

    def answer(self, call: Any) -> Any:
        from dbus_fast import Message, Variant

        if call.member == "Get":
            assert call.body == [MANAGER.interface, "PreparingForSleep"]
            self._asked.set()
            return Message.new_method_return(call, "v", [Variant("b", self.falls_asleep)])
        if self.falls_asleep:
            return Message.new_error(call, f"{SERVICE}.OperationInProgress", "it is under way")
        ours, theirs = os.pipe()
        self.inhibited.put_nowait((call.body, ours, theirs))
        return Message.new_method_return(call, "h", [0], [theirs])

    async def asked(self) -> None:
        """Wait until a daemon has asked whether the host falls asleep."""
        self._asked.clear()
        async with asyncio.timeout(PATIENCE):
            await self._asked.wait()

    async def next(self) -> tuple[list[str], int]:
        from dbus_fast import Message

        async with asyncio.timeout(PATIENCE):
            body, ours, theirs = await self.inhibited.get()
            # Once the bus has answered to this, it has what was sent before.
            await self.client.call(Message(BUS.service, BUS.path, BUS.interface, "GetId"))
        os.close(theirs)
        return body, ours

    async def sleeps(self, *, begins: bool) -> None:
        from dbus_fast import Message, MessageType

        self.falls_asleep = begins
        message = Message(
            path=MANAGER.path, interface=MANAGER.interface, member="PrepareForSleep",
            message_type=MessageType.SIGNAL, signature="b", body=[begins],
        )  # fmt: skip
        await self.client.send(message)


async def released(pipe: int) -> None:
    """Wait until the other side of a pipe is closed."""
    ended, _, _ = await asyncio.to_thread(select.select, [pipe], [], [], PATIENCE)
    assert ended
    os.close(pipe)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[MessageBus]:
    with message_bus(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def booted(bus: MessageBus) -> AsyncIterator[Logind]:
    """A host with a logind."""
    logind = Logind()
    async with service(bus, SERVICE, logind.answer) as logind.client:
        yield logind


@contextlib.asynccontextmanager
async def daemon(bus: MessageBus, guests: Guests) -> AsyncIterator[Power]:
    """A daemon, which leaves as if it had been killed."""
    async with asyncio.TaskGroup() as tasks:
        power = Power(guests, bus.socket.parent / "resting", bus.address)
        task = tasks.create_task(power.run())
        yield power
        task.cancel()


@contextlib.asynccontextmanager
async def powered(bus: MessageBus, guests: Guests) -> AsyncIterator[tuple[Power, Logind]]:
    async with booted(bus) as logind, daemon(bus, guests) as power:
        yield power, logind


def phase(name: str, phase: Phase) -> Event:
    return Event(1, 0.0, Kind.PHASE, {"name": name, "phase": phase.value})


async def test_guests_rest_while_the_host_sleeps_and_their_clocks_are_set(bus: MessageBus) -> None:
    guests = Guests()
    async with powered(bus, guests) as (_, logind):
        words, pipe = await logind.next()
        assert (words[0], words[1], words[3]) == ("sleep", "qsupd", "delay")
        await logind.sleeps(begins=True)
        await released(pipe)
        assert guests.orders == [("pause", "runs")]
        await logind.sleeps(begins=False)
        async with asyncio.timeout(PATIENCE):
            await guests.changed.wait()
        words, pipe = await logind.next()
        assert words[0] == "sleep"
        assert guests.orders == [("pause", "runs"), ("resume", "runs")]
        assert guests.clocks == ["runs"]
        assert guests.now["rests"] is Phase.PAUSED, "an operator wants that"
    await released(pipe)


@pytest.mark.parametrize("sleeps_on", [False, True])
async def test_a_daemon_that_dies_while_the_host_sleeps_leaves_no_guest_paused(
    bus: MessageBus, sleeps_on: bool
) -> None:
    guests = Guests()
    async with booted(bus) as logind:
        async with daemon(bus, guests):
            _, pipe = await logind.next()
            await logind.sleeps(begins=True)
            await released(pipe)
        assert guests.now["runs"] is Phase.PAUSED
        logind.falls_asleep = sleeps_on
        async with daemon(bus, guests):
            if sleeps_on:
                await logind.asked()
                assert guests.now["runs"] is Phase.PAUSED
                await logind.sleeps(begins=False)
            _, pipe = await logind.next()
            assert guests.orders == [("pause", "runs"), ("resume", "runs")]
        async with daemon(bus, guests):
            os.close(pipe)
            _, pipe = await logind.next()
    os.close(pipe)
    assert guests.orders == [("pause", "runs"), ("resume", "runs")], "it is done once"


async def test_nobody_turns_the_host_off_under_a_stop(
    bus: MessageBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUICK", 0.0)
    async with powered(bus, Guests()) as (power, logind):
        _, sleep = await logind.next()
        power.hear(phase("a", Phase.STOPPING))
        words, pipe = await logind.next()
        assert (words[0], words[2], words[3]) == ("shutdown", "guests are being stopped: a", "block")
        power.hear(phase("b", Phase.STOPPING))
        power.hear(phase("a", Phase.STOPPED))
        assert not select.select([pipe], [], [], 0)[0], "b is still being stopped"
        power.hear(phase("b", Phase.STOPPED))
        await released(pipe)
    await released(sleep)


async def test_a_stop_that_could_inhibit_nothing_leaves_the_next_one_its_turn(
    bus: MessageBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "QUICK", 0.0)
    async with powered(bus, Guests()) as (power, logind):
        _, sleep = await logind.next()
        logind.falls_asleep = True
        power.hear(phase("a", Phase.STOPPING))
        async with asyncio.timeout(PATIENCE):
            while "does not let guests inhibit shutdown: it is under way" not in caplog.text:
                await asyncio.sleep(0)
        power.hear(phase("a", Phase.STOPPED))
        await asyncio.sleep(0)
        logind.falls_asleep = False
        power.hear(phase("b", Phase.STOPPING))
        words, pipe = await logind.next()
        assert words[2] == "guests are being stopped: b"
    await released(pipe)
    await released(sleep)


async def test_a_quick_stop_inhibits_nothing(bus: MessageBus) -> None:
    async with powered(bus, Guests()) as (power, logind):
        _, sleep = await logind.next()
        power.hear(phase("a", Phase.STOPPING))
        await asyncio.sleep(0)
        power.hear(phase("a", Phase.STOPPED))
        await asyncio.sleep(0)
        assert logind.inhibited.empty()
    await released(sleep)


async def test_a_host_without_logind_does_without(bus: MessageBus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    power = Power(Guests(), bus.socket.parent / "resting", bus.address)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(power.run())
        async with asyncio.timeout(PATIENCE):
            while "ignoring" not in caplog.text:
                await asyncio.sleep(0)
        power.hear(phase("a", Phase.STOPPING))
        task.cancel()

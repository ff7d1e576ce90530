"""A bug in what the daemon does for one guest costs that guest's deed, and nobody else anything."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from qsup import clock
from qsup.blackbox.shelf import Shelf
from qsup.bus import Bus
from qsup.errors import QsupError
from qsup.events import Kind
from qsup.fdstore import FdStore
from qsup.guest import actor as module
from qsup.guest import effects, hands, inputs, record
from qsup.guest.actor import Actor
from qsup.guest.grants import Grants
from qsup.guest.host import Host
from qsup.guest.kept import Kept
from qsup.guest.placing import Placing
from qsup.guest.running import Running
from qsup.guest.state import State
from qsup.guest.turn import REWRITE
from qsup.guest.users import Users
from qsup.notify import Notifier
from qsup.paths import Paths
from qsup.phase import Phase, Verb
from qsup.probe.prober import Prober
from qsup.probe.programs import Programs
from qsup.proc.bounded import Keeper
from qsup.proc.oom import OomLog
from qsup.qmp.session import QmpEvent
from qsup.scope.scopes import Scopes
from qsup.spec.model import DaemonConfig, GuestSpec


async def _fails(*_: object) -> None:
    raise RuntimeError("a bug that a test has planted")


@pytest.fixture
def host(tmp_path: Path, qemu_binary: str) -> Host:
    paths = Paths(tmp_path, tmp_path / "run", tmp_path / "state")
    prober = Prober(None, clock.boot_id())
    config, oom = DaemonConfig(), OomLog("/dev/null")
    shelf, store = Shelf(paths.crashes, config.crashes), FdStore(Notifier(None), {})
    scopes = Scopes(paths)
    scopes.configure(DaemonConfig(scopes=False))
    return Host(
        paths,
        Bus(),
        Keeper(),
        qemu_binary,
        clock.boot_id(),
        prober,
        Programs(config),
        oom,
        1024,
        scopes,
        shelf,
        store,
        Users(paths.users),
        Grants(paths.guests, paths.runs),
    )


async def test_a_launch_that_meets_a_bug_is_a_start_that_failed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "launch", _fails)
    actor = Actor(GuestSpec(name="web1"), host)
    life = asyncio.create_task(actor.run())
    await actor.command(Verb.START, "test")
    await actor.until(lambda: actor.state.phase is Phase.BACKOFF)
    assert "planted" in actor.state.reason
    assert await actor.command(Verb.STOP, "test")
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)


async def test_a_restoration_that_meets_a_bug_is_told_and_the_guest_can_be_started(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "adopt", _fails)
    actor = Actor(GuestSpec(name="web1"), host)
    life = asyncio.create_task(actor.run())
    await actor.restored.wait()
    assert "a bug in qsup" in host.bus.recent[-1].data["message"]
    assert not life.done()
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)


async def test_a_step_that_meets_a_bug_answers_and_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug that a test has planted")

    actor = Actor(GuestSpec(name="web1"), host)
    life = asyncio.create_task(actor.run())
    await actor.restored.wait()
    with monkeypatch.context() as patch:
        patch.setattr(module, "step", broken)
        with pytest.raises(QsupError, match="a bug in qsup"):
            await actor.command(Verb.STOP, "test")
    assert await actor.command(Verb.STOP, "test") == "already stopped"
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)


async def test_an_end_is_told_before_the_state_is_written_which_nobody_sees_until_then(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Actor(GuestSpec(name="web1"), host)
    before, after = actor.state, msgspec.structs.replace(actor.state, reason="it has ended")
    seen: list[tuple[list[Kind], bool]] = []

    async def persist(_: State) -> None:
        seen.append(([event.kind for event in host.bus.recent], actor.state is before))

    monkeypatch.setattr(actor, "_persist", persist)
    ended, phase = effects.Publish(Kind.ENDED, {}), effects.Publish(Kind.PHASE, {})
    await actor._perform(after, [ended, effects.Persist(), phase], None)
    assert seen == [([Kind.ENDED], True)]
    assert ([event.kind for event in host.bus.recent], actor.state) == ([Kind.ENDED, Kind.PHASE], after)


@pytest.mark.parametrize(
    ("run_state", "done"),
    [("prelaunch", ["hold to its limits", "prepare"]), ("running", ["missed"]), ("paused", ["missed"])],
)
async def test_whoever_adopts_a_guest_that_has_not_run_yet_tells_its_qemu_what_the_launch_wants(
    run_state: str, done: list[str], host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Told:
        """A line to a QEMU in this run state."""

        def __init__(self, *_: object) -> None:
            self.session = None

        async def open(self, *_: object) -> None:
            pass

        async def run_state(self) -> str:
            return run_state

        async def prepare(self) -> None:
            told.append("prepare")

        async def missed(self) -> None:
            told.append("missed")

        async def serve(self) -> None:
            pass

        def replay(self, events: list[QmpEvent]) -> None:
            assert not events

        async def close(self) -> None:
            pass

    async def held() -> None:
        told.append("hold to its limits")

    monkeypatch.setattr(hands, "Line", Told)
    actor = Actor(GuestSpec(name="web1"), host)
    nothing = cast("Any", None)
    placing, kept = cast("Placing", SimpleNamespace(held=held)), Kept(host.store, "0" * 16)
    running = Running(nothing, nothing, actor.hands.spec, tmp_path, nothing, placing, kept)
    actor.hands.running = running
    ours, peer = socket.socketpair()
    with ours, peer:
        async with asyncio.TaskGroup() as actor._tasks:
            await actor.hands._open_line(running, ours, 1.0, fresh=False)
    assert told == done


async def test_a_disk_that_does_not_answer_holds_no_deed_up_and_has_the_newest_state_in_the_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[State] = []
    answers = threading.Event()

    def write(_: Path, state: record.StateRecord) -> None:
        assert answers.wait(10)
        written.append(state.state)

    actor = Actor(GuestSpec(name="web1"), host)
    life = asyncio.create_task(actor.run())
    await actor.restored.wait()
    done: list[object] = []
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    monkeypatch.setattr(record, "write", write)
    monkeypatch.setattr(actor, "_handle", lambda deed, _: done.append(deed))
    for phase in (Phase.STARTING, Phase.STOPPING):
        new = msgspec.structs.replace(actor.state, phase=phase)
        await actor._perform(new, [effects.Persist(), effects.Signal(9)], None)
    assert done == [effects.Signal(9)] * 2
    assert "its state cannot be written (the disk has not answered" in host.bus.recent[-1].data["message"]
    answers.set()
    actor.post(inputs.Timer(REWRITE))
    while not written or written[-1].phase is not Phase.STOPPING:
        await asyncio.sleep(0)
    assert [state.phase for state in written] == [Phase.STARTING, Phase.STOPPING]
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)

"""A bug in what the daemon does for one guest costs that guest's deed, and nobody else anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qsup import clock
from qsup.bus import Bus
from qsup.errors import QsupError
from qsup.guest import actor as module
from qsup.guest.actor import Actor
from qsup.guest.host import Host
from qsup.guest.phase import Phase, Verb
from qsup.paths import Paths
from qsup.proc.bounded import Keeper
from qsup.spec.model import GuestSpec


async def _fails(*_: object) -> None:
    raise RuntimeError("a bug that a test has planted")


@pytest.fixture
def host(tmp_path: Path, qemu_binary: str) -> Host:
    paths = Paths(tmp_path, tmp_path / "run", tmp_path / "state")
    return Host(paths, Bus(), Keeper(), qemu_binary, clock.boot_id())


async def test_a_launch_that_meets_a_bug_is_a_start_that_failed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "launch", _fails)
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
    monkeypatch.setattr(module, "adopt", _fails)
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

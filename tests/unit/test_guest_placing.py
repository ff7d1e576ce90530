"""Where a launch's processes go: when a guest may run, what holds on when something cannot be changed, what is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from qsup.errors import ScopeError
from qsup.guest.placing import Placing
from qsup.proc import cgroup
from qsup.proc.identity import Identity
from qsup.proc.process import Process
from qsup.scope.ground import Ground, Way
from qsup.scope.kills import KillCounts
from qsup.scope.scopes import Scopes
from qsup.scope.wish import Scope, Wish
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Stop
from qsup.spec.tables.limits import Limits
from qsup.spec.tables.memory import Memory
from qsup.units import Duration

LIMITED = GuestSpec(name="web1", limits=Limits(tasks_max=99), stop=Stop(timeout=Duration(30.0)))
FREE = GuestSpec(name="web1")


class Host:
    """Stands for the scopes of a host: says yes or no, and remembers."""

    def __init__(self) -> None:
        self.here = Ground(Way.SYSTEMD, frozenset({"pids", "cpu"}))
        self.scope: Scope | None = Scope(way=Way.SYSTEMD, name="qsup-web1.scope")
        self.refusal: ScopeError | None = None
        self.free = asyncio.Event()
        self.free.set()
        self.did: list[Any] = []
        self.kills = KillCounts()

    def ground(self) -> Ground:
        return self.here

    async def put(self, wish: Wish, leader: int, processes: Mapping[int, int]) -> Scope | None:
        await self.free.wait()
        self.did.append(("put", wish, leader, set(processes)))
        if self.refusal is not None:
            raise self.refusal
        return self.scope

    async def change(self, scope: Scope, old: Limits, new: Limits, disks: Mapping[str, str]) -> None:
        self.did.append(("change", scope.name, old, new))
        if self.refusal is not None:
            raise self.refusal

    async def add(self, scope: Scope, pids: list[int]) -> None:
        self.did.append(("add", scope.name, pids))

    async def enter(self, wish: Wish, scope: Scope, leader: int) -> None:
        self.did.append(("enter", wish.guest, leader))

    async def left(self, guest: str, scope: Scope) -> None:
        self.did.append(("left", guest, scope.name))

    @contextlib.contextmanager
    def stops(self, scope: Scope, stop: Callable[[], None]) -> Iterator[None]:
        self.stop = stop
        yield


@pytest.fixture
def process() -> Iterator[Process]:
    """A process that stands for a QEMU."""
    with subprocess.Popen(["sleep", "1000"]) as sleep:
        identity = Identity(pid=sleep.pid, start_time=0, boot_id="", token="")
        held = Process(identity, os.pidfd_open(sleep.pid))
        yield held
        held.close()
        sleep.kill()


class Told:
    """What came of it."""

    def __init__(self) -> None:
        self.saved = 0
        self.notices: list[str] = []
        self.stops = 0

    def save(self) -> None:
        self.saved += 1

    def stop(self) -> None:
        self.stops += 1


def placing(spec: GuestSpec, host: Host, process: Process, **known: Any) -> Placing:
    return Placing(spec, cast(Scopes, host), process, list, **known)


async def begun(one: Placing) -> Told:
    told = Told()
    await one.begin(told.save, told.notices.append, told.stop)
    return told


async def test_a_guest_with_limits_waits_until_they_hold_and_one_without_does_not(process: Process) -> None:
    host = Host()
    host.free.clear()
    for spec, waits in ((FREE, False), (LIMITED, True)):
        one = placing(spec, host, process)
        beginning = asyncio.create_task(begun(one))
        held = asyncio.create_task(one.held())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert held.done() is not waits
        host.free.set()
        told = await beginning
        await held
        assert told.saved == 1
        assert one.scope == host.scope
        host.free.clear()
    (_, wish, leader, pids), entered = host.did[-2:]
    assert (wish.limits.tasks_max, wish.patience, leader) == (99, 50.0, process.pid)
    assert pids == {process.pid}
    assert entered == ("enter", "web1", process.pid)
    host.stop()


async def test_a_guest_whose_limits_cannot_be_kept_does_not_run_and_any_other_does(process: Process) -> None:
    host = Host()
    host.refusal = ScopeError("systemd does not want to")
    limited, free = placing(LIMITED, host, process), placing(FREE, host, process)
    assert (await begun(limited)).notices == []
    with pytest.raises(ScopeError, match="does not want to"):
        await limited.held()
    told = await begun(free)
    assert told.notices == ["systemd does not want to; it runs in the daemon's cgroup"]
    await free.held()
    assert free.scope is None


async def test_limits_without_anything_that_keeps_them_are_refused(process: Process) -> None:
    host = Host()
    host.scope, host.here = None, Ground(Way.NONE, why="there is nothing")
    limited = placing(LIMITED, host, process)
    await begun(limited)
    with pytest.raises(ScopeError, match="it cannot be limited: there is nothing"):
        await limited.held()


def test_the_move_begins_with_qemu_where_memory_would_count_elsewhere(process: Process) -> None:
    host = cast(Any, None)
    assert not placing(FREE, host, process).urgent
    assert placing(LIMITED, host, process).urgent
    assert placing(GuestSpec(name="a", memory=Memory(prealloc=True)), host, process).urgent


async def test_a_process_that_is_in_its_scope_stays_there(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    monkeypatch.setattr(cgroup, "unit_of", lambda _: "qsup-web1.scope")
    one = placing(LIMITED, host, process, scope=host.scope)
    told = await begun(one)
    assert told.saved == 0
    assert [what for what, *_ in host.did] == ["enter"]
    await one.held()


async def test_an_edit_changes_what_can_be_changed_without_a_restart(process: Process) -> None:
    host = Host()
    one = placing(LIMITED, host, process)
    told = await begun(one)
    edited = msgspec.structs.replace(LIMITED, limits=Limits(cpu_weight=7, slice="other.slice"))
    assert await one.change(edited, told.save)
    _, name, old, new = host.did[-1]
    assert (name, old, new) == ("qsup-web1.scope", LIMITED.limits, Limits(cpu_weight=7))
    assert one.limits == Limits(cpu_weight=7)
    assert told.saved == 2
    assert not await one.change(edited, told.save)
    assert told.saved == 2


async def test_an_edit_that_nothing_would_keep_leaves_all_as_it_was(process: Process) -> None:
    host = Host()
    one = placing(LIMITED, host, process)
    told = await begun(one)
    edited = msgspec.structs.replace(LIMITED, limits=Limits(io_weight=7))
    with pytest.raises(
        ScopeError, match=r"limits\.io-weight: systemd has not got the kernel's controller io"
    ):
        await one.change(edited, told.save)
    host.refusal = ScopeError("not now")
    edited = msgspec.structs.replace(LIMITED, limits=Limits(cpu_weight=7))
    with pytest.raises(ScopeError, match="not now"):
        await one.change(edited, told.save)
    assert one.limits == LIMITED.limits
    assert told.saved == 1


async def test_how_readily_it_is_ended_is_set_before_it_runs_and_when_it_is_edited(process: Process) -> None:
    file = Path(f"/proc/{process.pid}/oom_score_adj")
    usual = int(file.read_text())
    spec = GuestSpec(name="web1", limits=Limits(oom_score_adjust=usual + 7))
    one = placing(spec, Host(), process)
    told = await begun(one)
    assert int(file.read_text()) == usual + 7
    assert await one.change(GuestSpec(name="web1"), told.save)
    assert int(file.read_text()) == int(Path("/proc/self/oom_score_adj").read_text())


async def test_the_last_look_finds_the_figures_and_what_was_killed(process: Process, tmp_path: Path) -> None:
    host = Host()
    host.scope = Scope(way=Way.SYSTEMD, name="qsup-web1.scope", directory=str(tmp_path / "scope"))
    one = placing(FREE, host, process)
    await begun(one)
    one.look()
    assert one.kills is None
    (tmp_path / "scope").mkdir()
    (tmp_path / "scope/memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    (tmp_path / "scope/memory.peak").write_text("4096\n")
    one.look()
    assert str(one.kills).startswith("the kernel killed QEMU for want of memory: its cgroup had reached its")
    assert one.figures["memory.peak"] == "4096"
    await one.end()
    assert host.did[-1] == ("left", "web1", "qsup-web1.scope")


async def test_a_process_that_has_ended_is_put_nowhere(process: Process) -> None:
    process.close()
    host = Host()
    told = await begun(placing(FREE, host, process))
    assert (host.did, told.notices) == ([], [])

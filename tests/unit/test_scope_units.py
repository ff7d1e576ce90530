"""Scopes and machines asked of a systemd and a machined on a bus of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from qsup.dbus import systemd
from qsup.errors import ScopeError
from qsup.paths import Paths
from qsup.proc import cgroup
from qsup.scope import ground, names
from qsup.scope.ground import Way
from qsup.scope.scopes import Scopes
from qsup.scope.wish import Wish
from qsup.spec.model import DaemonConfig
from qsup.spec.tables.limits import Limits
from tests.fakes.fake_systemd import MACHINED, SYSTEMD, fake_systemd
from tests.fakes.message_bus import MessageBus, message_bus

UUID_1 = UUID(int=7)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MessageBus]:
    """A bus of systemd's on a host where that runs."""
    with message_bus(tmp_path) as made:
        monkeypatch.setattr(ground, "SYSTEMD", str(tmp_path))
        monkeypatch.setattr(ground, "bus_address", lambda: made.address)
        monkeypatch.setattr(cgroup, "unit_of", lambda _: None)
        yield made


@pytest.fixture
def process() -> Iterator[tuple[int, int]]:
    """A process and its pidfd."""
    with subprocess.Popen(["sleep", "1000"]) as sleep:
        pidfd = os.pidfd_open(sleep.pid)
        yield sleep.pid, pidfd
        os.close(pidfd)
        sleep.kill()


def wish(limits: Limits | None = None, guest: str = "web1") -> Wish:
    return Wish(guest, f"Guest {guest}", UUID_1, limits or Limits(), {}, 60.0)


@contextlib.asynccontextmanager
async def scopes(tmp_path: Path, config: DaemonConfig | None = None) -> AsyncIterator[Scopes]:
    """Those of a daemon, listening."""
    runtime = tmp_path / "run"
    made = Scopes(Paths(tmp_path, runtime, tmp_path / "state"))
    made._tag = ""
    if made._listing is not None:
        made._listing._tag = ""
    made.configure(config or DaemonConfig())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.run())
        try:
            async with asyncio.timeout(10):
                yield made
        finally:
            task.cancel()


async def test_a_guest_gets_a_scope_and_a_place_in_the_list_of_machines(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        scope = await mine.put(wish(Limits(tasks_max=99)), pid, {pid: pidfd})
        assert scope is not None
        assert (scope.way, scope.name) == (Way.SYSTEMD, "qsup-web1.scope")
        assert fake.scopes["qsup-web1.scope"]["TasksMax"] == 99
        assert fake.scopes["qsup-web1.scope"]["PIDFDs"] == [0]
        assert mine.connection is not None
        assert fake.scopes["qsup-web1.scope"]["Controller"] == mine.connection.name
        await mine.enter(wish(), scope, pid)
        assert fake.machines["qsup-web1"] == ("qsup-web1", UUID_1.bytes, "qsup", "vm", pid, "")
        await mine.enter(wish(), scope, pid)
        assert len(fake.of("RegisterMachine")) == 1
        await mine.left("web1", scope)
        assert not fake.machines


async def test_what_an_older_systemd_does_not_know_it_is_not_asked_for_again(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        fake.unknown = {"OOMPolicy", "PIDFDs"}
        await mine.put(wish(), pid, {pid: pidfd})
        assert fake.scopes["qsup-web1.scope"]["PIDs"] == [pid]
        assert "OOMPolicy" not in fake.scopes["qsup-web1.scope"]
        before = len(fake.of("StartTransientUnit"))
        await mine.put(wish(guest="web2"), pid, {pid: pidfd})
        assert len(fake.of("StartTransientUnit")) == before + 1


async def test_a_limit_that_systemd_does_not_know_is_not_left_out(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        fake.unknown = {"TasksMax"}
        with pytest.raises(ScopeError, match="Cannot set property TasksMax"):
            await mine.put(wish(Limits(tasks_max=99)), pid, {pid: pidfd})


async def test_the_scope_of_the_last_launch_may_take_its_time_to_go(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        fake.lingering = 5
        assert await mine.put(wish(), pid, {pid: pidfd}) is not None
        monkeypatch.setattr(systemd, "LINGERS", 0.05)
        fake.lingering = 1000
        with pytest.raises(ScopeError, match=r"systemctl status qsup-web1\.scope"):
            await mine.put(wish(), pid, {pid: pidfd})


async def test_a_job_that_fails_is_told_and_so_is_one_of_which_nothing_is_heard(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        fake.result = "failed"
        with pytest.raises(ScopeError, match=r"could not start qsup-web1\.scope: failed"):
            await mine.put(wish(), pid, {pid: pidfd})
        monkeypatch.setattr(systemd, "LINGERS", 0.05)
        fake.silent = True
        with pytest.raises(ScopeError, match="has not told"):
            await mine.put(wish(), pid, {pid: pidfd})
        # What was done all the same is no failure.
        asked = len(fake.asked)
        monkeypatch.setattr(
            cgroup, "unit_of", lambda _: "qsup-web1.scope" if len(fake.asked) > asked else None
        )
        assert await mine.put(wish(), pid, {pid: pidfd}) is not None


async def test_a_process_that_is_in_its_scope_already_is_only_limited(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, pidfd = process
    monkeypatch.setattr(cgroup, "unit_of", lambda _: "qsup-web1.scope")
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        assert await mine.put(wish(Limits(tasks_max=9)), pid, {pid: pidfd}) is not None
        assert [name for name, _ in fake.asked] == ["SetUnitProperties"]
        assert fake.of("SetUnitProperties") == [["qsup-web1.scope", True, [("TasksMax", 9)]]]


async def test_limits_change_and_processes_come_later(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        scope = await mine.put(wish(), pid, {pid: pidfd})
        assert scope is not None
        await mine.change(scope, Limits(tasks_max=9), Limits(cpu_weight=7), {})
        unset = (1 << 64) - 1
        changed = [("CPUWeight", 7), ("TasksMax", unset)]
        assert fake.of("SetUnitProperties") == [["qsup-web1.scope", True, changed]]
        await mine.change(scope, Limits(slice="a.slice"), Limits(), {})
        assert len(fake.of("SetUnitProperties")) == 1
        await mine.add(scope, [pid])
        assert fake.of("AttachProcessesToUnit") == [["qsup-web1.scope", "", [pid]]]
        fake.refusal = (f"{SYSTEMD}.NoSuchUnit", "it has gone")
        with pytest.raises(ScopeError, match="cannot be changed: it has gone"):
            await mine.change(scope, Limits(), Limits(cpu_weight=7), {})


async def test_whoever_wants_the_scope_stopped_is_heard_through_systemd_alone(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        scope = await mine.put(wish(), pid, {pid: pidfd})
        assert scope is not None
        assert mine.connection is not None
        assert mine.connection.name is not None
        asked = asyncio.Event()
        with mine.stops(scope, asked.set):
            fake.want_stopped(names.object_path("qsup-other.scope"), mine.connection.name)
            fake.want_stopped(names.object_path(scope.name), mine.connection.name)
            await asked.wait()


async def test_the_entry_of_an_earlier_launch_makes_room_and_that_of_others_does_not(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        scope = await mine.put(wish(), pid, {pid: pidfd})
        assert scope is not None
        await mine.enter(wish(guest="other"), scope, pid)
        fake.machines["qsup-web1"] = ("qsup-web1", b"", "qsup", "vm", 1, "")
        await mine.enter(wish(), scope, pid)
        assert fake.machines["qsup-web1"][4] == pid
        fake.machines["qsup-web2"] = ("qsup-web2", b"", "libvirt-qemu", "vm", 1, "")
        await mine.enter(wish(guest="web2"), scope, pid)
        assert fake.machines["qsup-web2"][4] == 1
        assert "qsup-web2 cannot be listed by systemd-machined: it is there, ignoring" in caplog.text


async def test_a_new_daemon_lists_no_machine_twice(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path) as mine:
        fake.machines["qsup-web1"] = ("qsup-web1", b"", "qsup", "vm", pid, "")
        scope = await mine.put(wish(), pid, {pid: pidfd})
        assert scope is not None
        await mine.enter(wish(), scope, pid)
        assert not fake.of("RegisterMachine")
        await mine.left("web1", scope)
        assert not fake.machines


async def test_without_machined_or_where_it_is_not_wanted_nothing_is_listed(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    pid, pidfd = process
    for machined, wanted in ((False, True), (True, False)):
        async with (
            fake_systemd(bus, machined=machined) as fake,
            scopes(tmp_path, DaemonConfig(machined=wanted)) as mine,
        ):
            scope = await mine.put(wish(), pid, {pid: pidfd})
            assert scope is not None
            await mine.enter(wish(), scope, pid)
            await mine.left("web1", scope)
            assert {name for name, _ in fake.asked} == {"StartTransientUnit"}
    assert not caplog.text


async def test_a_bus_without_systemd_is_told_and_one_that_is_gone_too(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with scopes(tmp_path) as mine:
        with pytest.raises(ScopeError, match=rf"cannot be made: .*{SYSTEMD}"):
            await mine.put(wish(), pid, {pid: pidfd})
        bus.stop()
        with pytest.raises(ScopeError, match=r"cannot be made: the bus .* cannot be reached"):
            await mine.put(wish(), pid, {pid: pidfd})


async def test_scopes_that_are_not_wanted_are_not_made(
    bus: MessageBus, tmp_path: Path, process: tuple[int, int]
) -> None:
    pid, pidfd = process
    async with fake_systemd(bus) as fake, scopes(tmp_path, DaemonConfig(scopes=False)) as mine:
        assert await mine.put(wish(), pid, {pid: pidfd}) is None
        assert not fake.asked
        assert MACHINED not in str(fake.asked)

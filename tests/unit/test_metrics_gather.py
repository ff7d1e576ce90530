"""Figures are asked for once, in time, and strictly read; a QEMU that hangs or lies costs its own only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import QmpLost, QmpRefused
from qsup.events import Event, Kind
from qsup.guest.measured import Measured
from qsup.guest.state import Launch, State
from qsup.histogram import Histogram
from qsup.metrics import answers, ask
from qsup.metrics.ask import Asker
from qsup.metrics.counts import Counts
from qsup.metrics.families import KVM
from qsup.metrics.gather import FRESH, Gatherer
from qsup.metrics.kernel import Kernel
from qsup.metrics.readings import Disk
from qsup.phase import Phase, Wanted
from qsup.proc.identity import Identity, identify
from qsup.spec.base import HostPath
from qsup.spec.load import Configuration, load
from qsup.spec.model import GuestSpec
from qsup.spec.tables.balloon import Balloon
from qsup.spec.tables.disk import Disk as DiskTable
from qsup.spec.tables.nic import Nic, NicType
from qsup.vitals.kernel import TICK
from qsup.vitals.kernel import Kernel as Threads
from qsup.vitals.verdict import Condition
from tests.unit.virtual_time import BEGIN, played

STATS = {
    "rd_bytes": 512,
    "rd_operations": 1,
    "wr_highest_offset": 0,
    "timed_stats": [],
    "account_failed": True,
}
BLOCKS = [
    {"device": "", "stats": STATS, "qdev": "/machine/peripheral/disk-root/virtio-backend", "node-name": "x"},
    {"device": "", "stats": STATS, "qdev": "disk-data"},
    {"device": "", "stats": STATS, "qdev": "/machine/peripheral/cdrom-cd"},
    {"device": "", "stats": STATS},
]
CPUS = [{"cpu-index": 0, "thread-id": os.getpid(), "qom-path": "/x", "target": "x86_64"}]
VCPU = {"provider": "kvm", "stats": [{"name": "exits", "value": 3}, {"name": "guest_mode", "value": True}]}


class FakeSession:
    """A QEMU that answers as told, and counts what it was asked."""

    version = "7.2.22"

    def __init__(self, **told: Any) -> None:
        self.told = {"query_cpus_fast": CPUS, "query_blockstats": BLOCKS, **told}
        self.asked: list[str] = []
        self.awake = asyncio.Event()
        self.awake.set()

    async def execute(self, command: str, arguments: Any = None, **_: Any) -> Any:
        self.asked.append(command)
        await self.awake.wait()
        answer = self.told.get(command.replace("-", "_"))
        if answer is None:
            raise QmpRefused("no such command", "CommandNotFound")
        if isinstance(answer, Exception):
            raise answer
        return answer


def measured(name: str = "web1", session: FakeSession | None = None, **more: Any) -> Measured:
    spec = GuestSpec(name=name, disk={name: DiskTable(file=HostPath("/x")) for name in ("root", "data")})
    facts: dict[str, Any] = {
        "spec": spec,
        "state": State(
            phase=Phase.RUNNING,
            wanted=Wanted.RUNNING,
            launch=Launch(token="t", pid=os.getpid(), accel="kvm", ready_after=0.5),
        ),
        "launched": spec if session else None,
        "machine": "pc-q35-7.2" if session else None,
        "identity": identify(os.getpid(), "t") if session else None,
        "session": session,
        "condition": Condition.WELL if session else None,
        "latency": Histogram().counted(),
    }
    return Measured(**{**facts, **more})


def asking() -> Asker:
    return Asker(Threads())


# What is asked, and of whom


async def test_the_answers_of_a_qemu_come_by_the_ids_of_its_file() -> None:
    session = FakeSession(query_stats=[VCPU, VCPU])
    found = await asking().ask([measured(session=session)])
    (told,) = found.values()
    assert told.vcpus == {0: os.getpid()}
    assert told.disks == {name: Disk(rd_bytes=512, rd_operations=1) for name in ("root", "data")}
    assert told.kvm == {"exits": 6}
    assert told.balloon is None
    assert session.asked == ["query-cpus-fast", "query-blockstats", "query-stats"]


async def test_only_what_the_guest_has_is_asked_for() -> None:
    session = FakeSession(query_balloon={"actual": 1 << 29})
    one = measured(session=session)
    tcg = msgspec.structs.replace(one.state, launch=Launch(token="t", pid=1, accel="tcg"))
    spec = msgspec.structs.replace(one.spec, balloon=Balloon(enabled=True))
    found = await asking().ask([replace(one, state=tcg, launched=spec)])
    assert found["web1"].balloon == 1 << 29
    assert session.asked == ["query-cpus-fast", "query-blockstats", "query-balloon"]


async def test_an_older_qemu_without_counters_has_the_rest() -> None:
    found = await asking().ask([measured(session=FakeSession())])
    assert found["web1"].kvm == {}
    assert found["web1"].disks


async def test_a_vcpu_that_cannot_answer_is_not_made_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU's main loop would wait for it, and with that the guest for us."""
    session = FakeSession(query_stats=[VCPU], query_cpus_fast=[{"cpu-index": 0, "thread-id": 1 << 21}])
    found = await asking().ask([measured(session=session)])
    assert "query-stats" not in session.asked
    assert found["web1"].disks


async def test_a_guest_that_is_off_is_not_asked() -> None:
    assert await asking().ask([measured()]) == {}


def test_a_qemu_that_hangs_costs_its_own_figures_and_is_not_asked_twice() -> None:
    async def story() -> None:
        hung, well, asker = FakeSession(), FakeSession(), asking()
        hung.awake.clear()
        guests = [measured("hung", hung), measured("well", well)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert set(await asker.ask(guests)) == {"well"}
        assert loop.time() - began == pytest.approx(ask.TURN + ask.PATIENCE)
        assert set(await asker.ask(guests)) == {"well"}
        assert hung.asked == ["query-cpus-fast"]
        assert len(well.asked) == 6
        # What comes too late is old, so it is asked anew.
        hung.awake.set()
        await asyncio.sleep(0.1)
        assert set(await asker.ask(guests)) == {"hung", "well"}
        assert len(hung.asked) == 6
        await asker.close()

    played(story())


def test_a_qemu_that_is_known_to_hang_costs_no_time() -> None:
    async def story() -> None:
        session = FakeSession()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for condition in ask.SILENT:
            assert await asking().ask([measured(session=session, condition=condition)]) == {}
        assert (session.asked, loop.time()) == ([], began)
        assert await asking().ask([measured(session=session, condition=Condition.GUEST_HUNG)])

    played(story())


def test_many_that_hang_at_once_keep_nobody_from_being_asked() -> None:
    async def story() -> None:
        sessions = [FakeSession() for _ in range(3 * ask.AT_ONCE)]
        for session in sessions[:-1]:
            session.awake.clear()
        asker = asking()
        guests = [measured(f"g{number:03d}", session) for number, session in enumerate(sessions)]
        assert set(await asker.ask(guests)) == {guests[-1].spec.name}
        assert asyncio.get_running_loop().time() - BEGIN < 3 * ask.TURN + ask.PATIENCE + 0.1
        await asker.close()

    played(story())


async def test_with_a_session_that_ends_goes_what_was_asked_in_it() -> None:
    asker, first, second = asking(), FakeSession(), FakeSession()
    first.awake.clear()
    question = asyncio.create_task(asker.ask([measured(session=first)]))
    await asyncio.sleep(0)
    assert await asker.ask([measured(session=second)])
    assert await question == {}
    lost = FakeSession(query_blockstats=QmpLost("gone"))
    assert await asker.ask([measured(session=lost)]) == {}
    await asker.close()


async def test_nothing_is_left_when_it_is_closed() -> None:
    asker, session = asking(), FakeSession()
    session.awake.clear()
    question = asyncio.create_task(asker.ask([measured(session=session)]))
    await asyncio.sleep(0)
    await asker.close()
    assert await question == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}


# What is made of the answers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
READERS: tuple[Callable[[object], object], ...] = (
    lambda answer: answers.vcpus(answer, 4),
    lambda answer: answers.disks(answer, frozenset({"root"})),
    answers.balloon,
    answers.kvm,
)


@given(JSON)
def test_nonsense_says_nothing(answer: object) -> None:
    for reader in READERS:
        assert reader(answer) in ({}, None)


def test_a_liar_can_make_no_series_but_its_own() -> None:
    many = [{"cpu-index": index, "thread-id": 5} for index in range(4096)]
    assert set(answers.vcpus(many, 2)) == {0, 1}
    assert answers.vcpus([{"cpu-index": 0, "thread-id": -1}], 2) == {}
    forged = [{"stats": STATS, "qdev": f"disk-{name}"} for name in ("root", 'a"b', "other", "root\n")]
    assert set(answers.disks(forged, frozenset({"root"}))) == {"root"}
    assert answers.disks([{"stats": {"rd_bytes": -1}, "qdev": "disk-root"}], frozenset({"root"})) == {}
    assert answers.balloon({"actual": 1 << 64}) is None
    stats = [{"name": name, "value": 1} for name in ("exits", "made_up")]
    assert answers.kvm([{"stats": stats}]) == {"exits": 1}
    assert answers.kvm([{"stats": [{"name": "exits", "value": True}]}]) == {}


def test_every_counter_that_is_asked_for_is_read() -> None:
    stats = [{"name": name, "value": 2} for name in KVM]
    assert answers.kvm([{"stats": stats}, {"stats": stats}]) == dict.fromkeys(KVM, 4)


# What the kernel tells


class FakeProc:
    """A kernel's file systems, as far as they are read."""

    identity = Identity(77, 1234, "boot", "token")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = Kernel(str(root / "proc"), str(root / "sys"))
        fields = [*("0",) * 50]
        fields[0], fields[11], fields[12], fields[19], fields[21], fields[40] = (
            "S",
            "150",
            "50",
            "1234",
            "9",
            "70",
        )
        self.write("proc/77/stat", f"77 (qemu) (x)) {' '.join(fields)}\n")
        self.write("proc/77/task/78/schedstat", "2500000000 500000000 9\n")
        self.write("proc/77/cgroup", "0::/\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def tap(self, name: str, fd: int | None = None, bridge: str = "") -> None:
        """A tap interface: one that QEMU's helper has made has an fd and lies in a bridge."""
        head = "Inter-|   Receive\n face |bytes\n"
        table = self.root / "proc/thread-self/net/dev"
        text = table.read_text() if table.exists() else head
        self.write("proc/thread-self/net/dev", f"{text}{name:>6}: {' '.join(map(str, range(1, 17)))}\n")
        if fd is not None:
            self.write(f"proc/77/fdinfo/{fd}", f"pos:\t0\nflags:\t02\niff:\t{name}\n")
            (self.root / f"sys/class/net/{name}").mkdir(parents=True)
            (self.root / f"sys/class/net/{name}/master").symlink_to(f"../../{bridge}")

    def process(self, **nics: Nic) -> Any:
        spec = GuestSpec(name="web1", nic=nics)
        return self.kernel.process(self.identity, spec, {0: 78, 1: 79}, self.kernel.devices(), None)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    monkeypatch.setattr("qsup.proc.cgroup.directory_of", lambda _pid: None)
    return FakeProc(tmp_path)


def test_times_and_memory_are_seconds_and_bytes(fake: FakeProc) -> None:
    found = fake.process()
    assert (found.user, found.system, found.guest) == (150 * TICK, 50 * TICK, 70 * TICK)
    assert found.resident == 9 * os.sysconf("SC_PAGE_SIZE")
    # The second vCPU's thread has just gone.
    assert {index: (vcpu.ran, vcpu.waited) for index, vcpu in found.vcpus.items()} == {0: (2.5, 0.5)}
    assert found.cgroup is None


def test_another_process_with_its_pid_is_not_it(fake: FakeProc) -> None:
    fake.identity = Identity(77, 1235, "boot", "token")
    assert fake.process() is None


def test_a_taps_counters_are_turned_round(fake: FakeProc) -> None:
    fake.tap("tap0")
    nic = fake.process(lan=Nic(type=NicType.TAP, interface="tap0")).nics["lan"]
    assert (nic.transmit_bytes, nic.transmit_packets, nic.transmit_errors, nic.transmit_drop) == (1, 2, 3, 4)
    assert (nic.receive_bytes, nic.receive_packets, nic.receive_errors, nic.receive_drop) == (9, 10, 11, 12)


def test_taps_of_the_bridge_helper_are_told_apart_by_their_bridges(fake: FakeProc) -> None:
    fake.tap("tap0")
    fake.tap("tap1", 20, "br0")
    fake.tap("tap2", 21, "br1")
    fake.tap("tap3", 22, "br1")
    found = fake.process(
        lan=Nic(type=NicType.TAP, interface="tap0"),
        dmz=Nic(type=NicType.BRIDGE, bridge="br0"),
        one=Nic(type=NicType.BRIDGE, bridge="br1"),
        two=Nic(type=NicType.BRIDGE, bridge="br1"),
        out=Nic(type=NicType.USER),
    )
    assert set(found.nics) == {"lan", "dmz"}
    fake.kernel.forget(set())


def test_of_a_control_group_of_its_own_the_memory_is_told(
    fake: FakeProc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "cgroup"
    for name, text in (
        ("memory.current", "4096\n"),
        ("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"),
    ):
        fake.write(f"cgroup/{name}", text)
    monkeypatch.setattr("qsup.proc.cgroup.directory_of", lambda _pid: str(group))
    cgroup = fake.process().cgroup
    assert (cgroup.memory, cgroup.swap) == (4096, None)
    assert cgroup.events == {"high": 2, "max": 3, "oom": 4, "oom_kill": 5}
    spec = GuestSpec(name="web1")
    shared = fake.kernel.process(fake.identity, spec, {}, {}, str(group))
    assert shared is not None
    assert shared.cgroup is None


def test_this_hosts_kernel_is_read() -> None:
    kernel = Kernel()
    assert len(kernel.devices()["lo"]) == 16
    found = kernel.process(
        identify(os.getpid(), ""),
        GuestSpec(name="x"),
        {0: os.getpid()},
        kernel.devices(),
        kernel.own_cgroup(),
    )
    assert found is not None
    assert found.user + found.system > 0
    assert found.resident > 1 << 20
    assert found.vcpus[0].ran > 0
    assert found.cgroup is None


# What was announced


def told(kind: Kind, **data: object) -> Event:
    return Event(1, 0.0, kind, {"name": "web1", **data})


def test_ends_restarts_and_troubles_are_counted_by_cause() -> None:
    counts = Counts()
    counts.hear(told(Kind.ENDED, cause="qemu-signal", restart=True))
    counts.hear(told(Kind.ENDED, cause="qemu-signal", restart=False))
    counts.hear(told(Kind.TROUBLE, cause="no-space"))
    counts.hear(Event(1, 0.0, Kind.RELOADED, {"problems": []}))
    found = counts.counters(["web1"])
    assert found.ends == {("web1", "qemu-signal"): 2}
    assert found.restarts == {("web1", "qemu-signal"): 1}
    assert found.troubles == {("web1", "no-space"): 1}
    assert {kind: found.events[kind.value] for kind in Kind if found.events[kind.value]} == {
        Kind.ENDED: 2,
        Kind.TROUBLE: 1,
        Kind.RELOADED: 1,
    }
    assert counts.counters([]).ends == {}
    assert counts.counters(["web1"]).ends == {}, "who was forgotten begins anew"


# All together


class FakeGuests:
    def __init__(self, directory: Path, *guests: Measured) -> None:
        self.guests = list(guests)
        self._configuration = load(directory)
        self.asked = 0

    def measured(self) -> list[Measured]:
        self.asked += 1
        return self.guests

    def configuration(self) -> Configuration:
        return self._configuration


@pytest.fixture
async def gatherer(tmp_path: Path) -> AsyncIterator[tuple[Gatherer, FakeGuests]]:
    guests = FakeGuests(tmp_path, measured(session=FakeSession()), measured("web2"))
    with ThreadPoolExecutor(1) as thread:
        made = Gatherer(guests, Counts(), Histogram(), thread)
        yield made, guests
        await made.close()


async def test_who_asks_at_the_same_time_is_told_the_same(gatherer: tuple[Gatherer, FakeGuests]) -> None:
    made, guests = gatherer
    first, *others = await asyncio.gather(*(made.site() for _ in range(20)))
    assert all(other is first for other in others)
    assert guests.asked == 1
    on, off = first.guests
    assert (on.name, on.ready, on.wanted, on.accel, on.qemu) == ("web1", True, True, "kvm", "7.2.22")
    assert on.process is not None
    assert on.answers is not None
    assert on.started is not None
    assert (off.name, off.process, off.answers, off.started) == ("web2", None, None, None)


async def test_after_a_second_it_is_asked_anew(
    gatherer: tuple[Gatherer, FakeGuests], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, guests = gatherer
    now = 1000.0
    monkeypatch.setattr("qsup.metrics.gather.clock.now", lambda: now)
    first = await made.site()
    now += FRESH
    assert await made.site() is first
    now += 0.1
    assert await made.site() is not first
    assert guests.asked == 2

"""The watch over a QEMU that answers, falls silent, is lost and found again, and over its guest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.proc.identity import Identity
from qsup.spec.model import GuestSpec
from qsup.spec.tables.hang import Hang
from qsup.units import Duration
from qsup.vitals.look import Session, rests_unseen, taps
from qsup.vitals.sample import Sample
from qsup.vitals.watch import Watch
from tests.fakes.fake_kernel import IDENTITY, FakeKernel

FAST = Hang(qemu_timeout=Duration(0.4), guest_timeout=Duration(0.4))
QEMU_ONLY = Hang(qemu_timeout=Duration(0.4), guest_timeout=Duration(0))
GUEST_ONLY = Hang(qemu_timeout=Duration(0), guest_timeout=Duration(0.4))
VCPU = 100
"""The thread of the first vCPU."""
ON, OFF = "00000202", "00000002"


class FakeSession:
    """Answers as it is told, and counts what is asked and never answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = 0
        self.silent: set[str] = set()
        self.refused: set[str] = set()
        self.refusal = "CommandNotFound"
        self.go_on = asyncio.Event()
        self.lost = False
        self.status: Any = {"status": "running"}
        self.flags = [ON]
        self.requests = 0

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        deadline: float | None = None,
        oob: bool = False,
    ) -> Any:
        self.asked.append(command)
        self.open += 1
        try:
            await asyncio.sleep(0)
            if command in self.silent:
                await self.go_on.wait()
            if self.lost:
                raise QmpLost("it is gone")
            if command in self.refused:
                raise QmpRefused("no", self.refusal)
            return self.answer(command, arguments or {})
        finally:
            self.open -= 1

    def answer(self, command: str, arguments: dict[str, Any]) -> Any:
        match command:
            case "query-status":
                if isinstance(self.status, Exception):
                    raise self.status
                return self.status
            case "query-yank":
                return []
            case "query-cpus-fast":
                return [{"cpu-index": index, "thread-id": VCPU + index} for index in range(len(self.flags))]
            case "human-monitor-command":
                flags = self.flags[arguments["cpu-index"]]
                return f"EIP=00007c00 EFL={flags} [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"
            case "query-blockstats":
                return [{"stats": {"wr_operations": self.requests}}]
            case _:
                return []


@dataclass
class FakeSubject:
    session: Session | None
    spec: GuestSpec = field(default_factory=lambda: guest())
    identity: Identity = IDENTITY
    busy: bool = False
    greets: bool = False
    booted: float | None = None


class Watching:
    """A watch that is under way, and what it has reported."""

    def __init__(self, subject: FakeSubject, session: FakeSession, kernel: FakeKernel) -> None:
        self.subject, self.session, self.kernel = subject, session, kernel
        self.samples: list[Sample] = []

    def report(self, sample: Sample) -> None:
        self.samples.append(sample)

    async def until(self, reached: Callable[[Sample], Any], *, after: int = 0) -> Sample:
        """Wait for a sample."""
        async with asyncio.timeout(30):
            while True:
                for sample in self.samples[after:]:
                    if reached(sample):
                        return sample
                await asyncio.sleep(0.005)

    async def more(self, count: int) -> list[Sample]:
        """Wait for so many more samples."""
        have = len(self.samples)
        async with asyncio.timeout(30):
            while len(self.samples) < have + count:
                await asyncio.sleep(0.005)
        return self.samples[have:]


def guest(**more: Any) -> GuestSpec:
    return msgspec.convert({"name": "guest", **more}, GuestSpec)


@pytest.fixture
def fake(tmp_path: Path) -> FakeKernel:
    made = FakeKernel(tmp_path)
    for tid in (IDENTITY.pid, VCPU, VCPU + 1):
        made.thread(tid)
    return made


@contextlib.asynccontextmanager
async def watching(
    fake: FakeKernel, hang: Hang = FAST, *, session: FakeSession | None = None, **more: Any
) -> AsyncIterator[Watching]:
    """A watch; when it is cancelled nothing of it may be left."""
    before = asyncio.all_tasks()
    session = session or FakeSession()
    made = Watching(FakeSubject(session, **more), session, fake)
    task = asyncio.create_task(Watch(made.subject, hang, made.report, fake.kernel).run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert asyncio.all_tasks() == before, "a task was left behind"
    assert session.open == 0


async def test_a_qemu_that_is_well_is_asked_little(fake: FakeKernel) -> None:
    async with watching(fake, QEMU_ONLY) as here:
        samples = await here.more(5)
    assert set(here.session.asked) == {"query-status"}
    for sample in samples:
        assert sample.silent_since is None
        assert sample.process is None
        assert sample.run_state == "running"
        assert sample.latency is not None
        assert sample.heard is not None
        assert sample.heard <= sample.at


async def test_guests_are_asked_in_batches(fake: FakeKernel) -> None:
    slow = Hang(qemu_timeout=Duration(4), guest_timeout=Duration(0))
    async with watching(fake, slow) as one, watching(fake, slow) as other:
        third = (await one.more(3))[-1]
        await other.more(1)
    assert min(abs(sample.at - third.at) for sample in other.samples) < 0.1


async def test_with_nothing_to_watch_for_it_returns() -> None:
    hang = Hang(qemu_timeout=Duration(0), guest_timeout=Duration(0))
    session = FakeSession()
    await Watch(FakeSubject(session), hang, lambda _: None).run()
    assert session.asked == []


async def test_what_is_not_answered_is_asked_once(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        await here.more(2)
        here.session.silent.add("query-status")
        sample = await here.until(lambda sample: sample.silent_since)
        before = here.session.asked.count("query-status")
        await here.more(10)
        assert here.session.asked.count("query-status") == before
        assert {one.silent_since for one in here.samples if one.silent_since} == {sample.silent_since}
        assert here.session.open == 1


async def test_a_silent_qemu_is_looked_at_and_asked_out_of_band(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        fake.thread(IDENTITY.pid, "T")
        here.session.silent |= {"query-status", "query-yank"}
        sample = await here.until(lambda sample: sample.silent_since)
        assert sample.process is not None
        assert sample.process.main.state == "T"
        assert sample.urgent is False
        await here.more(10)
        assert here.session.asked.count("query-yank") == 1
        assert here.session.open == 2
        here.session.silent.remove("query-yank")
        here.session.go_on.set()
        here.session.go_on.clear()


@pytest.mark.parametrize("refused", [set[str](), {"query-yank"}])
async def test_an_answer_out_of_band_is_told_even_if_it_is_a_refusal(
    fake: FakeKernel, refused: set[str]
) -> None:
    async with watching(fake) as here:
        here.session.refused = refused
        here.session.silent.add("query-status")
        assert (await here.until(lambda sample: sample.silent_since)).urgent is True


async def test_an_answer_that_comes_late_is_seen_at_once(fake: FakeKernel) -> None:
    slow = Hang(qemu_timeout=Duration(600), guest_timeout=Duration(0))
    session = FakeSession()
    session.silent.add("query-status")
    async with watching(fake, slow, session=session) as here:
        await here.until(lambda sample: sample.silent_since)
        session.go_on.set()
        async with asyncio.timeout(10):
            sample = await here.until(lambda sample: sample.silent_since is None)
        assert sample.heard is not None


async def test_an_answer_that_is_always_late_is_an_answer(fake: FakeKernel) -> None:
    session = FakeSession()
    session.silent.add("query-status")
    async with watching(fake, session=session) as here:
        for _ in range(5):
            silent = await here.until(lambda sample: sample.silent_since, after=len(here.samples))
            session.go_on.set()
            session.go_on.clear()
            well = await here.until(lambda sample: not sample.silent_since, after=len(here.samples))
            assert well.heard is not None
            assert silent.silent_since is not None
            assert well.heard > silent.silent_since
    assert any(sample.look for sample in here.samples[1:]), "there was a guest to look into in between"


async def test_a_refusal_is_an_answer_and_nonsense_is_none(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.session.refused.add("query-status")
        await here.more(2)
        assert here.samples[-1].silent_since is None
        assert here.samples[-1].run_state is None
        here.session.refused.clear()
        here.session.status = QmpUnanswered("nonsense")
        first = await here.until(lambda sample: sample.silent_since)
        last = (await here.more(3))[-1]
        assert last.silent_since == first.silent_since
        assert here.session.open == 0


async def test_a_session_that_was_lost_is_left_alone(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        await here.more(1)
        here.session.lost = True
        sample = await here.until(lambda sample: not sample.session)
        assert sample.silent_since is not None
        assert sample.process is not None
        before = len(here.session.asked)
        await here.more(4)
        assert len(here.session.asked) == before
        assert here.samples[-1].silent_since == sample.silent_since


async def test_another_session_is_taken_up(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.session.silent |= {"query-status", "query-yank", "human-monitor-command"}
        silent = await here.until(lambda sample: sample.silent_since)
        here.subject.session = None
        lost = await here.until(lambda sample: not sample.session)
        assert lost.silent_since == silent.silent_since, "it was silent before"
        assert here.session.open == 0, "nobody waits for a session that is gone"
        another = here.subject.session = FakeSession()
        well = await here.until(lambda sample: sample.session, after=len(here.samples))
        assert well.silent_since is None
        assert well.heard is not None
        assert well.heard > lost.at
        assert another.asked[0] == "query-status"


async def test_a_subject_without_a_session_is_silent_from_the_beginning(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.subject.session = None
        sample = await here.until(lambda sample: not sample.session)
        assert sample.silent_since is not None
        assert (await here.more(2))[-1].silent_since == sample.silent_since


async def test_a_process_that_is_gone_leaves_nothing_to_see(fake: FakeKernel) -> None:
    async with watching(fake, identity=msgspec.structs.replace(IDENTITY, pid=1)) as here:
        here.subject.session = None
        assert (await here.until(lambda sample: not sample.session)).process is None


async def test_a_live_guest_costs_one_question(fake: FakeKernel) -> None:
    async with watching(fake, GUEST_ONLY) as here:
        here.session.flags = [ON, OFF]
        samples = await here.more(5)
    looks = [sample.look for sample in samples if sample.look]
    assert looks
    assert all(look.awake and len(look.vcpus) == 1 for look in looks)
    assert set(here.session.asked) == {"query-status", "query-cpus-fast", "human-monitor-command"}
    assert here.session.asked.count("query-cpus-fast") == 1


async def test_a_guest_none_of_whose_vcpus_takes_interrupts_is_asked_for_its_work(fake: FakeKernel) -> None:
    spec = guest(nic={"lan": {"type": "tap", "interface": "tap7"}})
    fake.sent("tap7", 42)
    async with watching(fake, spec=spec) as here:
        here.session.flags, here.session.requests = [OFF, OFF], 7
        look = (await here.until(lambda sample: sample.look)).look
    assert look is not None
    assert not look.awake
    assert [(vcpu.index, vcpu.halted, vcpu.thread.tid) for vcpu in look.vcpus] == [
        (0, True, 100),
        (1, True, 101),
    ]
    assert (look.work.disk, look.work.sent, look.work.served) == (7, 42, None)


async def test_vcpus_that_were_plugged_in_are_seen_before_anything_is_said(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.session.flags = [OFF]
        await here.until(lambda sample: sample.look)
        here.session.flags = [OFF, ON]
        await here.until(lambda sample: sample.look and sample.look.awake)


@pytest.mark.parametrize("state", ["paused", "prelaunch"])
async def test_a_guest_that_does_not_run_is_not_looked_into(fake: FakeKernel, state: str) -> None:
    async with watching(fake) as here:
        here.session.status = {"status": state}
        await here.more(5)
    assert set(here.session.asked) == {"query-status"}
    assert here.samples[-1].run_state == state


async def test_a_guest_is_not_looked_into_while_its_owner_is_at_work(fake: FakeKernel) -> None:
    async with watching(fake, busy=True) as here:
        samples = await here.more(5)
    assert set(here.session.asked) == {"query-status"}
    assert all(sample.busy for sample in samples)


async def test_a_vcpu_that_nothing_can_wake_is_not_asked(fake: FakeKernel) -> None:
    fake.thread(VCPU, "D")
    async with watching(fake) as here:
        look = (await here.until(lambda sample: sample.look)).look
    assert look is not None
    assert look.stuck is not None
    assert look.stuck.tid == VCPU
    assert "human-monitor-command" not in here.session.asked


async def test_a_look_that_takes_its_time_holds_nothing_up_and_is_not_repeated(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.session.silent.add("human-monitor-command")
        samples = await here.more(15)
        assert here.session.asked.count("human-monitor-command") == 1
        assert all(sample.look is None and sample.silent_since is None for sample in samples)
        here.session.go_on.set()
        await here.until(lambda sample: sample.look)


@pytest.mark.parametrize("command", ["human-monitor-command", "query-cpus-fast"])
async def test_a_qemu_that_cannot_be_looked_into_is_not_asked_again(fake: FakeKernel, command: str) -> None:
    session = FakeSession()
    session.refused.add(command)
    async with watching(fake, session=session) as here:
        await here.more(15)
    assert session.asked.count(command) == 1


async def test_a_vcpu_that_was_just_unplugged_is_no_reason_to_give_up(fake: FakeKernel) -> None:
    session = FakeSession()
    session.refused, session.refusal = {"human-monitor-command"}, "GenericError"
    async with watching(fake, session=session) as here:
        await here.more(15)
        assert session.asked.count("query-cpus-fast") > 1
        session.refused.clear()
        await here.until(lambda sample: sample.look)


async def test_a_qemu_without_counters_is_looked_into_all_the_same(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.session.refused.add("query-stats")
        here.session.flags = [OFF]
        assert await here.until(lambda sample: sample.look)


async def test_threads_that_qemu_invents_are_none(fake: FakeKernel) -> None:
    async with watching(fake) as here:
        here.session.flags = [OFF] * 3
        samples = await here.more(10)
    assert all(sample.look is None for sample in samples)


async def test_its_guest_may_rest_unseen(fake: FakeKernel) -> None:
    async with watching(fake, spec=guest(qemu={"args": ["-overcommit", "cpu-pm=on"]})) as here:
        await here.more(5)
    assert set(here.session.asked) == {"query-status"}


def test_what_a_guest_file_says_of_taps_and_rest() -> None:
    nics = {
        "a": {"type": "tap", "interface": "tap0"},
        "b": {"type": "user"},
        "c": {"type": "passt", "interface": "eth0"},
    }
    assert taps(guest(nic=nics)) == ("tap0",)
    assert not rests_unseen(guest(qemu={"args": ["-overcommit", "mem-lock=on"]}))


async def test_a_bug_in_who_hears_the_report_ends_the_watch_and_leaves_nothing(fake: FakeKernel) -> None:
    def broken(_: Sample) -> None:
        raise ZeroDivisionError

    before = asyncio.all_tasks()
    session = FakeSession()
    session.silent.add("query-status")
    with pytest.raises(ZeroDivisionError):
        await Watch(FakeSubject(session), FAST, broken, fake.kernel).run()
    assert asyncio.all_tasks() == before

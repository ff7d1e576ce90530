"""The loops that ask a guest until it is ready, and then whether it is well, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from qsup.checks import probes, watch
from qsup.checks.probes import NO_NOTICES, NO_PORT, Means
from qsup.checks.rest import FIRMWARE, Facts
from qsup.checks.schedule import Change, Course
from qsup.checks.verdict import Failed, Passed, Unable, Verdict
from qsup.errors import QmpLost
from qsup.proc.console import Console
from qsup.spec.model import GuestSpec
from qsup.spec.tables.health import Health, HealthCheck
from qsup.spec.tables.ready import Ready, ReadyCheck
from qsup.units import Duration
from tests.unit.virtual_time import BEGIN, played

PASSED, FAILED = Passed("fine"), Failed("broken")


class FakeRun:
    """One run of a guest, whose facts the test changes; a system runs in it from the beginning."""

    def __init__(self, **facts: object) -> None:
        known: dict[str, object] = {"run_state": "running", "began": BEGIN, "resumed": BEGIN, "sign": BEGIN}
        self._facts = msgspec.convert(known | facts, Facts)
        self.watchers: set[asyncio.Future[None]] = set()

    def facts(self) -> Facts:
        return self._facts

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.watchers.add(changed)
            try:
                await changed
            finally:
                self.watchers.discard(changed)

    def set(self, **changes: object) -> None:
        """Change the facts, as if an event had come."""
        self._facts = msgspec.structs.replace(self._facts, **changes)
        for watcher in self.watchers:
            if not watcher.done():
                watcher.set_result(None)

    async def pauses(self, seconds: float) -> None:
        self.set(run_state="paused")
        await asyncio.sleep(seconds)
        self.set(run_state="running", resumed=self.now())


class Book:
    """Writes down what is reported, and when."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Verdict, Course, Change]] = []

    def __call__(self, name: str, verdict: Verdict, course: Course, change: Change) -> None:
        assert name == "web"
        self.entries.append((asyncio.get_running_loop().time() - BEGIN, verdict, course, change))

    @property
    def times(self) -> list[float]:
        return [round(entry[0], 3) for entry in self.entries]

    @property
    def verdicts(self) -> list[Verdict]:
        return [entry[1] for entry in self.entries]

    @property
    def changes(self) -> list[Change]:
        return [entry[3] for entry in self.entries if entry[3] is not Change.NONE]


def health(interval: float = 10, failures: int = 2, start: float = 0) -> Health:
    return Health(
        name="web",
        check=HealthCheck.AGENT,
        interval=Duration(interval),
        failures=failures,
        start_period=Duration(start),
    )


class Probe:
    """Takes some seconds, and gives one verdict after the other, the last for good."""

    def __init__(self, *verdicts: Verdict, seconds: float = 0.0) -> None:
        self.left = list(verdicts)
        self.seconds = seconds

    async def __call__(self) -> Verdict:
        await asyncio.sleep(self.seconds)
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@contextlib.asynccontextmanager
async def watched(
    run: FakeRun, check: Health, probe: Probe, course: Course | None = None
) -> AsyncIterator[Book]:
    """The loop over a check, as long as the context is open. Its end leaves nobody waiting."""
    book = Book()
    task = asyncio.ensure_future(watch.health(check, probe, run, book, course))
    try:
        yield book
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not run.watchers


def test_a_check_comes_an_interval_after_the_one_before_has_ended() -> None:
    async def scene() -> None:
        async with watched(FakeRun(), health(interval=10), Probe(PASSED, seconds=2)) as book:
            await asyncio.sleep(40)
        assert book.times == [12, 24, 36]
        assert book.verdicts == [PASSED] * 3

    played(scene())


def test_a_guest_becomes_unhealthy_and_recovers() -> None:
    async def scene() -> None:
        probe = Probe(FAILED, FAILED, FAILED, PASSED)
        async with watched(FakeRun(), health(failures=2), probe) as book:
            await asyncio.sleep(55)
        assert book.changes == [Change.UNHEALTHY, Change.RECOVERED]
        assert [entry[2].streak for entry in book.entries] == [1, 2, 3, 0, 0]

    played(scene())


def test_checks_rest_while_the_guest_is_paused() -> None:
    async def scene() -> None:
        run = FakeRun()
        async with watched(run, health(interval=10), Probe(PASSED)) as book:
            await asyncio.sleep(15)
            await run.pauses(100)
            await asyncio.sleep(15)
        assert book.times == [10, 125]

    played(scene())


def test_a_rest_for_another_reason_is_still_a_rest() -> None:
    async def scene() -> None:
        run = FakeRun()
        async with watched(run, health(interval=10, start=30), Probe(FAILED)) as book:
            await asyncio.sleep(5)
            run.set(job="snapshot")
            await asyncio.sleep(20)
            run.set(job=None, maintenance=True)
            await asyncio.sleep(20)
            run.set(maintenance=False)
            await asyncio.sleep(31)
        # The start period ends at 30 + 40 s.
        assert book.times == [55, 65, 75]
        assert [entry[2].streak for entry in book.entries] == [0, 0, 1]

    played(scene())


def test_a_machine_in_its_firmware_is_not_asked() -> None:
    async def scene() -> None:
        async with watched(FakeRun(sign=None), health(interval=4), Probe(PASSED)) as book:
            await asyncio.sleep(FIRMWARE + 5)
        assert book.times == [FIRMWARE, FIRMWARE + 4]

    played(scene())


def test_a_sign_of_its_system_ends_that_at_once() -> None:
    async def scene() -> None:
        run = FakeRun(sign=None)
        async with watched(run, health(interval=4), Probe(PASSED)) as book:
            await asyncio.sleep(6)
            run.set(sign=run.now())
            await asyncio.sleep(5)
        assert book.times == [6, 10]

    played(scene())


@pytest.mark.parametrize("seconds", [1.0, 100.0])
def test_a_failure_in_a_pause_does_not_count_however_short_that_was(seconds: float) -> None:
    async def scene() -> None:
        run = FakeRun()
        async with watched(run, health(failures=1), Probe(FAILED, seconds=5)) as book:
            await asyncio.sleep(12)
            await run.pauses(seconds)
            await asyncio.sleep(5)
        why = "its vCPUs stood still meanwhile" if seconds < 5 else "it is paused"
        assert book.verdicts == [Unable(why)]

    played(scene())


def test_a_pass_in_a_pause_counts() -> None:
    async def scene() -> None:
        run = FakeRun()
        async with watched(run, health(failures=1), Probe(PASSED, seconds=5)) as book:
            await asyncio.sleep(12)
            await run.pauses(1)
            await asyncio.sleep(5)
        assert book.verdicts == [PASSED]

    played(scene())


def test_a_reset_begins_a_new_course() -> None:
    async def scene() -> None:
        run = FakeRun()
        async with watched(run, health(failures=2, start=30), Probe(PASSED, FAILED, FAILED)) as book:
            await asyncio.sleep(35)
            assert book.changes == [Change.UNHEALTHY]
            run.set(began=run.now(), resumed=run.now())
            await asyncio.sleep(50)
        # In its firmware until 45 s, in its start period until 65 s.
        assert book.times == [10, 20, 30, 45, 55, 65, 75]
        assert [entry[2].streak for entry in book.entries] == [0, 1, 2, 0, 0, 1, 2]
        assert book.changes == [Change.UNHEALTHY, Change.UNHEALTHY]

    played(scene())


@pytest.mark.parametrize("verdict", [PASSED, FAILED])
def test_what_a_check_says_of_a_machine_that_was_reset_is_not_said_of_the_next(verdict: Verdict) -> None:
    async def scene() -> None:
        run = FakeRun()
        async with watched(run, health(failures=1), Probe(verdict, seconds=5)) as book:
            await asyncio.sleep(12)
            run.set(began=run.now(), resumed=run.now())
            await asyncio.sleep(4)
        assert book.verdicts == [Unable("it was reset meanwhile")]
        assert not book.entries[0][2].passed

    played(scene())


def test_a_course_that_was_interrupted_goes_on() -> None:
    async def scene() -> None:
        course = Course(began=BEGIN, due=0.0, streak=1)
        async with watched(FakeRun(), health(failures=2), Probe(FAILED), course) as book:
            await asyncio.sleep(15)
        assert book.times == [10]
        assert book.changes == [Change.UNHEALTHY]

    played(scene())


# Readiness


def means(*consoles: str, spec: GuestSpec | None = None) -> Means:
    async def monitor(_command: str) -> str:
        raise QmpLost("there is no monitor in this test")

    made = {name: Console(f"web1/{name}", None) for name in consoles}
    return Means(spec or GuestSpec(name="web1"), None, made.__getitem__, monitor, None)


async def readied(wanted: Ready, run: FakeRun) -> tuple[Passed, list[Verdict]]:
    told: list[Verdict] = []
    return await watch.ready(wanted, means(), run, told.append), told


def test_a_guest_that_asks_for_nothing_is_ready_when_it_runs() -> None:
    async def scene() -> None:
        run = FakeRun(run_state="prelaunch")
        waiting = asyncio.ensure_future(readied(Ready(), run))
        await asyncio.sleep(5)
        assert not waiting.done()
        run.set(run_state="running")
        assert await waiting == (Passed("its vCPUs run"), [])

    played(scene())


def test_a_delay_is_one_of_running() -> None:
    async def scene() -> None:
        run = FakeRun()
        wanted = Ready(check=ReadyCheck.DELAY, delay=Duration(30))
        waiting = asyncio.ensure_future(readied(wanted, run))
        await asyncio.sleep(10)
        await run.pauses(100)
        assert await waiting == (Passed("its vCPUs have run for 30 s"), [])
        assert run.now() == BEGIN + 130
        # For a daemon that has found the guest running, the time counts that it had run before.
        await readied(wanted, FakeRun())
        assert run.now() == BEGIN + 130

    played(scene())


def test_a_guest_is_asked_until_it_is_ready_and_only_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        run = FakeRun(run_state="prelaunch")
        probe = Probe(FAILED, FAILED, PASSED)
        monkeypatch.setattr(probes, "of_ready", lambda _wanted, _means: probe)
        wanted = Ready(check=ReadyCheck.TCP, address="127.0.0.1:1", interval=Duration(2))
        waiting = asyncio.ensure_future(readied(wanted, run))
        await asyncio.sleep(10)
        assert len(probe.left) == 3
        run.set(run_state="running")
        await asyncio.sleep(1)
        await run.pauses(50)
        assert await waiting == (PASSED, [FAILED, FAILED])
        assert run.now() == BEGIN + 10 + 1 + 50 + 2

    played(scene())


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Ready(check=ReadyCheck.NOTIFY), NO_NOTICES),
        (Ready(check=ReadyCheck.CONSOLE, text="login:", serial="other"), NO_PORT),
        (Ready(check=ReadyCheck.CONSOLE, text="login:"), NO_PORT),
    ],
)
def test_what_cannot_come_is_told_and_waited_for_all_the_same(wanted: Ready, why: str) -> None:
    async def scene() -> None:
        run, told = FakeRun(), list[Verdict]()
        waiting = asyncio.ensure_future(watch.ready(wanted, means("console"), run, told.append))
        await asyncio.sleep(1000)
        assert told == [Unable(why)]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not run.watchers

    played(scene())

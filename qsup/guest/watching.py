"""Those who watch a guest: a task for each of its duties, begun and ended as the duties change."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final, assert_never

from qsup import clock
from qsup.blackbox.patience import patiently
from qsup.cause import Cause
from qsup.checks import watch
from qsup.checks.probes import Means, of_health
from qsup.checks.rest import Facts
from qsup.checks.schedule import Change
from qsup.checks.verdict import Passed, told
from qsup.guest import disks
from qsup.guest.duties import Watch
from qsup.guest.inputs import Health, NotReady, Pulse, Ready, Space
from qsup.phase import Phase
from qsup.vitals.course import Course
from qsup.vitals.verdict import Condition
from qsup.vitals.watch import Watch as PulseWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from qsup.checks.schedule import Course as HealthCourse
    from qsup.checks.verdict import Verdict
    from qsup.guest.duties import Duty
    from qsup.guest.hands import Hands
    from qsup.guest.inputs import Input
    from qsup.guest.running import Running
    from qsup.guest.state import State
    from qsup.proc.identity import Identity
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.hang import Hang
    from qsup.spec.tables.health import Health as HealthTable
    from qsup.vitals.look import Session
    from qsup.vitals.sample import Sample

ROOM: Final = 64 << 20
"""Bytes that must be free before a guest goes on whose disk had no room, or a twentieth of a small file system."""
LOOK: Final = 5.0
"""Seconds that a file system may take to tell."""
LEFT_ALONE: Final = {
    Condition.HOST_STALLED: "the host does not serve it, and whatever is done to it would make that worse",
    Condition.QEMU_TRACED: "a debugger holds it, and so somebody is at work there",
}


class Watching:
    """The watchers of one guest. What they see is posted as inputs; ``until`` waits for changes of the state."""

    def __init__(
        self,
        hands: Hands,
        post: Callable[[Input], None],
        state: Callable[[], State],
        until: Callable[[Callable[[], bool]], Coroutine[Any, Any, None]],
    ) -> None:
        self.until = until
        self._hands = hands
        self._post = post
        self._state = state
        self._tasks: dict[Duty, asyncio.Task[None]] = {}
        self._courses: dict[str, HealthCourse] = {}
        self._sign: float | None = None
        self.condition: Condition | None = None
        """What is the matter with the process; None as long as nobody looks after it."""

    def look(self, duties: frozenset[Duty]) -> None:
        """Watch this, and nothing else."""
        for duty in self._tasks.keys() - duties:
            self._tasks.pop(duty).cancel()
            if duty.watch is Watch.PULSE:
                self.condition = None
        running = self._hands.running
        for duty in duties - self._tasks.keys():
            if running is not None:
                self._tasks[duty] = self._hands.go(self._watcher(duty, running))

    def _watcher(self, duty: Duty, running: Running) -> Coroutine[Any, Any, None]:
        match duty.watch:
            case Watch.READY:
                return self._ready(running)
            case Watch.HEALTH:
                table = next(one for one in self._hands.spec.health if one.name == duty.what)
                return self._health(table, running)
            case Watch.PULSE:
                return self._pulse(running, self._hands.spec.hang)
            case Watch.SPACE:
                return self._space(duty, running)
            case never:
                assert_never(never)

    # What the checks know of the run

    def facts(self) -> Facts:
        """What the checks need to know of the guest now."""
        state = self._state()
        launch = state.launch
        began = (launch.booted_at or launch.running_since) if launch else None
        return Facts(
            run_state=state.run_state if state.connected else None,
            began=began or 0.0,
            resumed=state.since if state.phase is Phase.RUNNING else 0.0,
            sign=self._sign,
            leaving=state.phase is Phase.STOPPING,
            maintenance=state.maintenance is not None and clock.now() < state.maintenance,
            frozen=self._hands.operations.frozen,
            job=self._hands.operations.current(),
        )

    @staticmethod
    def now() -> float:
        """The clock of the facts."""
        return clock.now()

    def _means(self, running: Running) -> Means:
        hands = self._hands
        return Means(
            spec=running.spec,
            agent=hands.agent,
            console=hands.console,
            monitor=hands.monitor,
            notices=hands.host.notices,
        )

    async def _ready(self, running: Running) -> None:
        last = ""

        def looked(verdict: Verdict) -> None:
            nonlocal last
            if (found := told(verdict)) != last:
                last = found
                self._post(NotReady(found))

        passed = await watch.ready(self._hands.spec.ready, self._means(running), self, looked)
        self._sign = clock.now()
        self._post(Ready(passed.detail))

    async def _health(self, table: HealthTable, running: Running) -> None:
        probe = of_health(table, self._means(running))
        await watch.health(table, probe, self, self._heard, self._courses.get(table.name))

    def _heard(self, name: str, verdict: Verdict, course: HealthCourse, change: Change) -> None:
        self._courses[name] = course
        if isinstance(verdict, Passed):
            self._sign = clock.now()
        if change is Change.UNHEALTHY:
            self._post(Health(name, told(verdict)))
        elif change is Change.RECOVERED:
            self._post(Health(name, None))

    async def _pulse(self, running: Running, hang: Hang) -> None:
        subject = _Subject(self._hands, running, self._state)
        course, self.condition = Course(), Condition.WELL

        def felt(sample: Sample) -> None:
            nonlocal course
            self._hands.recorder.rings.sampled(clock.wall(), sample)
            course = course.after(sample, hang)
            verdict = course.verdict(hang)
            if verdict.condition is not self.condition:
                self.condition = verdict.condition
                self._post(_pulse_of(verdict.condition, verdict.evidence))

        await PulseWatch(subject, hang, felt).run()

    async def _space(self, duty: Duty, running: Running) -> None:
        """Look, ever less often, whether there is room where the disk has its image."""
        disk = running.spec.disk.get(duty.what)
        tries = int(duty.epoch[-1])
        while True:
            await asyncio.sleep(disks.pause(tries))
            tries += 1
            if disk is None or disk.file is None:
                self._post(Space("where the disk is nobody can be asked; it is tried again"))
                return
            try:
                found = await patiently(partial(os.statvfs, disk.file), LOOK)
            except (OSError, TimeoutError):
                continue
            free = found.f_bavail * found.f_frsize
            if free >= min(ROOM, found.f_blocks * found.f_frsize // 20):
                self._post(Space(f"{free >> 20} MiB are free where the disk {duty.what} has its image"))
                return


def _pulse_of(condition: Condition, evidence: tuple[str, ...]) -> Pulse:
    detail = evidence[0] if evidence else "it answers and makes progress again"
    match condition:
        case Condition.WELL:
            return Pulse(None, detail)
        case Condition.HOST_STALLED | Condition.QEMU_TRACED:
            cause = Cause.QEMU_HUNG if condition is Condition.HOST_STALLED else Cause.QEMU_STOPPED
            return Pulse(cause, detail, evidence, LEFT_ALONE[condition])
        case _:
            return Pulse(Cause(condition.value), detail, evidence)


class _Subject:
    """A guest as its pulse is felt."""

    def __init__(self, hands: Hands, running: Running, state: Callable[[], State]) -> None:
        self.spec: GuestSpec = running.spec
        self.identity: Identity = running.process.identity
        self._hands = hands
        self._state = state

    @property
    def session(self) -> Session | None:
        """The session to it."""
        return self._hands.line.session if self._hands.line else None

    @property
    def busy(self) -> bool:
        """Whether an operator has it do what may rightly hold it up."""
        return self._hands.operations.current() is not None

    @property
    def greets(self) -> bool:
        """Whether its monitor greets, although there is no session."""
        return self._hands.greets

    @property
    def booted(self) -> float | None:
        """When its vCPUs last began anew."""
        launch = self._state().launch
        return launch.booted_at if launch else None

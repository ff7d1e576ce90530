"""The loops: a guest is asked until it is ready, and from then on whether it is well.

Each is a coroutine for a task of the guest's actor, which may cancel it at any time. They sleep only for their
intervals, and wait for everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol, assert_never

from qsup.checks import console, notify, probes
from qsup.checks.rest import RUNNING, suspended
from qsup.checks.schedule import begin, judged, rested, taken_up
from qsup.checks.verdict import Passed, Unable
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.checks.probes import Means, Probe
    from qsup.checks.rest import Facts, Rest
    from qsup.checks.schedule import Change, Course
    from qsup.checks.verdict import Verdict
    from qsup.spec.tables.health import Health
    from qsup.spec.tables.ready import Ready

    Report = Callable[[str, Verdict, Course, Change], None]
    """The name of a check, its verdict, its course with it, and what that changes."""


class Run(Protocol):
    """One run of a guest, as its checks see it."""

    def facts(self) -> Facts:
        """What is known of it now."""

    def now(self) -> float:
        """The clock of the facts."""

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after every change of the facts."""


async def ready(wanted: Ready, means: Means, run: Run, tell: Callable[[Verdict], None]) -> Passed:
    """Wait until a guest is ready. ``tell`` gets what each look at one that is not ready yet comes to.

    Begin before the vCPUs run: what a guest's systemd has said before is lost. How long it may take is up to the
    caller.
    """
    match wanted.check:
        case ReadyCheck.RUNNING:
            await _running(run)
            return Passed("its vCPUs run")
        case ReadyCheck.DELAY:
            return await _have_run(run, wanted)
        case ReadyCheck.CONSOLE:
            port = means.port(wanted.serial)
            if port is None:
                return await _never(run, tell, probes.NO_PORT)
            return await console.printed(port, wanted.text or "")
        case ReadyCheck.NOTIFY:
            if means.notices is None:
                return await _never(run, tell, probes.NO_NOTICES)
            return await notify.ready(means.notices, means.spec.vsock.address(means.spec.name))
        case ReadyCheck.AGENT | ReadyCheck.TCP | ReadyCheck.HTTP:
            return await _passes(probes.of_ready(wanted, means), float(wanted.interval), run, tell)
        case never:
            assert_never(never)


async def health(
    check: Health, probe: Probe, run: Run, report: Report, course: Course | None = None
) -> NoReturn:
    """Ask whether a guest is well, as often as its file says, until cancelled; ``report`` gets every verdict.

    ``course`` is the last one that was reported, if this goes on with what was interrupted. The caller acts on what
    has changed, and begins anew with each process; a reset of the machine is seen here.
    """
    course = taken_up(course, check, run.facts().began, run.now())
    while True:
        course = await _due(course, check, run)
        before, started = run.facts(), run.now()
        verdict = _fair(await probe(), before, run)
        course, change = judged(course, check, verdict, started, run.now())
        report(check.name, verdict, course, change)


async def _due(course: Course, check: Health, run: Run) -> Course:
    """Wait until the next check is due and nothing speaks against it; the course may be another one by then."""
    while True:
        facts, now = run.facts(), run.now()
        if facts.began != course.began:
            course = begin(check, facts.began, now)
        rest = suspended(facts, now)
        if rest is not None:
            end = None if rest.until is None else rest.until - now
            await _until(run, partial(_otherwise, run, rest), end)
            if rest.until is None:
                course = rested(course, check, run.now(), run.now() - now)
        elif now >= course.due:
            return course
        else:
            await _until(run, partial(_disturbed, run, course.began), course.due - now)


def _otherwise(run: Run, rest: Rest) -> bool:
    return suspended(run.facts(), run.now()) != rest


def _disturbed(run: Run, began: float) -> bool:
    return run.facts().began != began or suspended(run.facts(), run.now()) is not None


def _fair(verdict: Verdict, before: Facts, run: Run) -> Verdict:
    """The verdict, unless something came between that the guest is not to blame for."""
    after = run.facts()
    if after.began != before.began:
        return Unable("it was reset meanwhile")
    if isinstance(verdict, Passed):
        return verdict
    rest = suspended(after, run.now())
    if rest is not None:
        return Unable(rest.why)
    return verdict if after.resumed == before.resumed else Unable("its vCPUs stood still meanwhile")


async def _until(run: Run, reached: Callable[[], bool], seconds: float | None) -> None:
    """Wait for a condition, but only so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await run.until(reached)


async def _running(run: Run) -> None:
    await run.until(lambda: run.facts().run_state == RUNNING)


async def _have_run(run: Run, wanted: Ready) -> Passed:
    """Wait until the vCPUs have run for the delay, pauses left out."""
    delay = wanted.delay or 0.0
    await _running(run)
    left = delay - (run.now() - run.facts().began)
    while left > 0:
        await _running(run)
        since = run.now()
        await _until(run, lambda: run.facts().run_state != RUNNING, left)
        left -= run.now() - since
    return Passed(f"its vCPUs have run for {wanted.delay}")


async def _passes(probe: Probe, interval: float, run: Run, tell: Callable[[Verdict], None]) -> Passed:
    while True:
        await _running(run)
        verdict = await probe()
        if isinstance(verdict, Passed):
            return verdict
        tell(verdict)
        await asyncio.sleep(interval)


async def _never(run: Run, tell: Callable[[Verdict], None], why: str) -> Passed:
    """Tell why this cannot come to an end, and wait for the caller's."""
    tell(Unable(why))
    await run.until(lambda: False)
    raise AssertionError("a condition that never holds was reached")

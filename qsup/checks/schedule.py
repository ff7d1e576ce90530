"""When a check of a guest's health is due, and what its verdicts come to. Pure.

A verdict counts as Docker counts those of its health checks: failures in a row, a pass clears them, and what fails
in the start period does not count unless something has passed before. A check that could not be made changes
nothing. Times are seconds of one clock that never jumps.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from qsup.checks.verdict import Failed, Passed, Unable
from qsup.spec.tables.health import HealthCheck

if TYPE_CHECKING:
    from qsup.checks.verdict import Verdict
    from qsup.spec.tables.health import Health


class Change(StrEnum):
    """What a verdict changes."""

    NONE = "none"
    UNHEALTHY = "unhealthy"
    """The guest has just become unhealthy."""
    RECOVERED = "recovered"
    """It was unhealthy until now."""


class Course(msgspec.Struct, frozen=True):
    """How one check of one machine has gone so far, from its beginning or its last reset."""

    began: float
    """When that was; it tells one machine from the next."""
    due: float
    """When the next check comes, unless it rests then."""
    rests: float = 0.0
    """Seconds of rest since: the start period is one of running."""
    streak: int = 0
    """Failures in a row that count."""
    passed: bool = False
    unhealthy: bool = False


def begin(check: Health, began: float, now: float) -> Course:
    """The course of a machine that has begun, or was reset."""
    return Course(began, now + float(check.interval))


def taken_up(course: Course | None, check: Health, began: float, now: float) -> Course:
    """A course that was interrupted, by a restart of the daemon or an edit; one begun, if it was another machine's."""
    if course is None or course.began != began:
        return begin(check, began, now)
    return msgspec.structs.replace(course, due=now + float(check.interval))


def rested(course: Course, check: Health, now: float, seconds: float) -> Course:
    """The course after a rest: the guest gets an interval to come round."""
    return msgspec.structs.replace(course, due=now + float(check.interval), rests=course.rests + seconds)


def judged(
    course: Course, check: Health, verdict: Verdict, started: float, now: float
) -> tuple[Course, Change]:
    """The course after a check that was started and came to its verdict at these times, and what that changes."""
    course = msgspec.structs.replace(course, due=now + float(check.interval))
    match verdict:
        case Unable():
            return course, Change.NONE
        case Passed():
            change = Change.RECOVERED if course.unhealthy else Change.NONE
            return msgspec.structs.replace(course, streak=0, passed=True, unhealthy=False), change
        case Failed():
            if not counts(course, check, started):
                return course, Change.NONE
            streak = course.streak + 1
            unhealthy = streak >= check.failures
            change = Change.UNHEALTHY if unhealthy and not course.unhealthy else Change.NONE
            return msgspec.structs.replace(
                course, streak=streak, unhealthy=course.unhealthy or unhealthy
            ), change


def counts(course: Course, check: Health, started: float) -> bool:
    """Whether a failure of a check that was started then counts.

    What a guest prints while it boots is no sign that it is well, so no output ends its start period.
    """
    ended = course.passed and check.check is not HealthCheck.CONSOLE
    return ended or started - course.began - course.rests >= float(check.start_period)

"""When checks are due, when they rest, and when a guest has failed them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.checks.rest import FIRMWARE, RUN_STATES, Facts, Rest, suspended
from qsup.checks.schedule import Change, Course, begin, judged, rested, taken_up
from qsup.checks.verdict import Failed, Passed, Unable, Verdict, told
from qsup.spec.tables.health import Health, HealthCheck
from qsup.units import Duration

PASSED, FAILED, UNABLE = Passed("fine"), Failed("broken"), Unable("no time")
FACTS = Facts(run_state="running", began=100.0, resumed=100.0, sign=101.0)


def health(
    failures: int = 3, start: float = 60, interval: float = 10, check: HealthCheck = HealthCheck.AGENT
) -> Health:
    return Health(
        name="web", check=check, interval=Duration(interval), failures=failures, start_period=Duration(start)
    )


def run(check: Health, *verdicts: Verdict, at: float = 1000.0) -> list[Change]:
    """What verdicts at intervals come to, for a machine that began at 0; the first comes at ``at``."""
    course, changes = begin(check, 0.0, 0.0), []
    for number, verdict in enumerate(verdicts):
        now = at + number * float(check.interval)
        course, change = judged(course, check, verdict, now, now + 1)
        changes.append(change)
    return changes


def fires(changes: list[Change]) -> list[int]:
    return [number for number, change in enumerate(changes) if change is Change.UNHEALTHY]


def test_so_many_failures_in_a_row_make_a_guest_unhealthy_once() -> None:
    assert fires(run(health(failures=3), *[FAILED] * 10)) == [2]
    assert fires(run(health(failures=1), *[FAILED] * 10)) == [0]


def test_a_pass_between_them_begins_the_count_anew() -> None:
    assert fires(run(health(failures=3), FAILED, FAILED, PASSED, FAILED, FAILED, FAILED)) == [5]


def test_after_a_recovery_it_can_become_unhealthy_again() -> None:
    changes = run(health(failures=2), FAILED, FAILED, FAILED, PASSED, PASSED, FAILED, FAILED)
    assert fires(changes) == [1, 6]
    assert [number for number, change in enumerate(changes) if change is Change.RECOVERED] == [3]


def test_a_check_that_could_not_be_made_neither_counts_nor_clears() -> None:
    assert fires(run(health(failures=3), FAILED, UNABLE, FAILED, UNABLE, UNABLE, FAILED)) == [5]
    assert fires(run(health(failures=1), *[UNABLE] * 10)) == []


def test_failures_in_the_start_period_do_not_count() -> None:
    # At 0, 10 … 50 s they are within its minute; at 60 s it is over.
    assert fires(run(health(failures=2), *[FAILED] * 10, at=0.0)) == [7]
    assert fires(run(health(failures=1, start=0), FAILED, at=0.0)) == [0]


def test_a_pass_ends_the_start_period() -> None:
    assert fires(run(health(failures=2), FAILED, PASSED, FAILED, FAILED, at=0.0)) == [3]


def test_output_does_not_end_it_as_a_boot_prints_as_well() -> None:
    check = health(failures=2, check=HealthCheck.CONSOLE)
    assert fires(run(check, FAILED, PASSED, *[FAILED] * 6, at=0.0)) == [7]


def test_a_check_that_began_in_the_start_period_does_not_count_when_it_ends_after_it() -> None:
    check = health(failures=1)
    course, change = judged(begin(check, 0.0, 0.0), check, FAILED, 59.9, 65.0)
    assert (course.streak, change) == (0, Change.NONE)


def test_the_next_check_comes_an_interval_after_the_last_one_ended() -> None:
    check = health(interval=10)
    course = begin(check, 100.0, 101.0)
    assert course.due == 111.0
    for verdict in (PASSED, FAILED, UNABLE):
        assert judged(course, check, verdict, 111.0, 114.0)[0].due == 124.0


def test_a_rest_gives_the_guest_an_interval_and_its_start_period_back() -> None:
    check = health(failures=1)
    course = rested(begin(check, 0.0, 0.0), check, 500.0, 490.0)
    assert course.due == 510.0
    course, change = judged(course, check, FAILED, 549.0, 549.0)
    assert change is Change.NONE
    assert judged(course, check, FAILED, 550.0, 550.0)[1] is Change.UNHEALTHY


def test_a_rest_does_not_clear_the_count() -> None:
    check = health(failures=2, start=0)
    course, _ = judged(begin(check, 0.0, 0.0), check, FAILED, 10.0, 10.0)
    course = rested(course, check, 100.0, 80.0)
    assert judged(course, check, FAILED, 110.0, 110.0)[1] is Change.UNHEALTHY


def test_an_interrupted_course_goes_on_and_that_of_another_machine_does_not() -> None:
    check = health(interval=10)
    course = Course(began=100.0, due=105.0, streak=2, passed=True, unhealthy=True)
    assert taken_up(course, check, 100.0, 300.0) == msgspec.structs.replace(course, due=310.0)
    assert taken_up(course, check, 200.0, 300.0) == begin(check, 200.0, 300.0)
    assert taken_up(None, check, 200.0, 300.0) == begin(check, 200.0, 300.0)


VERDICTS = st.sampled_from([PASSED, FAILED, UNABLE])


@given(st.lists(VERDICTS, max_size=40), st.integers(1, 5), st.sampled_from([0.0, 45.0]))
def test_it_fires_exactly_when_the_failures_in_a_row_reach_the_number(
    verdicts: list[Verdict], failures: int, start: float
) -> None:
    """Against a count by hand."""
    check = health(failures=failures, start=start)
    streak, passed, sick, expected = 0, False, False, []
    for number, verdict in enumerate(verdicts):
        if isinstance(verdict, Passed):
            streak, passed, sick = 0, True, False
        elif isinstance(verdict, Failed) and (passed or number * 10 >= start):
            streak += 1
            if streak >= failures and not sick:
                sick = True
                expected.append(number)
    assert fires(run(check, *verdicts, at=0.0)) == expected


@given(st.lists(st.tuples(VERDICTS, st.booleans()), max_size=40), st.integers(1, 5))
def test_between_two_alarms_there_is_a_recovery(steps: list[tuple[Verdict, bool]], failures: int) -> None:
    check = health(failures=failures)
    course, now, alarms = begin(check, 0.0, 0.0), 0.0, 0
    for verdict, rests in steps:
        if rests:
            course, now = rested(course, check, now + 30, 30.0), now + 30
        assert course.due >= now
        course, change = judged(course, check, verdict, now, now + 1)
        now += 1
        alarms += (change is Change.UNHEALTHY) - (change is Change.RECOVERED)
        assert alarms in (0, 1)
        assert course.unhealthy == bool(alarms)


# Rests


@pytest.mark.parametrize("state", sorted(RUN_STATES))
def test_checks_rest_whenever_the_vcpus_do_not_run(state: str) -> None:
    facts = msgspec.structs.replace(FACTS, run_state=state)
    assert suspended(facts, 500.0) == Rest(RUN_STATES[state])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"run_state": None}, "QEMU does not tell whether it runs"),
        ({"run_state": "of a newer QEMU"}, "its run state is of a newer QEMU"),
        ({"leaving": True}, "it is going down"),
        ({"maintenance": True}, "it is under maintenance"),
        ({"frozen": True}, "its file systems are frozen"),
        ({"job": "snapshot"}, "a snapshot is under way"),
    ],
)
def test_checks_rest_while_a_guest_is_not_to_be_asked(change: dict[str, object], why: str) -> None:
    assert suspended(msgspec.structs.replace(FACTS, **change), 500.0) == Rest(why)


def test_a_guest_that_runs_is_asked() -> None:
    assert suspended(FACTS, 102.0) is None


@pytest.mark.parametrize("sign", [None, 99.0])
def test_a_machine_without_a_sign_since_it_began_may_be_in_its_firmware(sign: float | None) -> None:
    facts = msgspec.structs.replace(FACTS, sign=sign)
    assert suspended(facts, 102.0) == Rest("it may be in its firmware", 100.0 + FIRMWARE)
    assert suspended(facts, 100.0 + FIRMWARE) is None


def test_a_verdict_is_a_sentence() -> None:
    assert told(PASSED) == "passed: fine"
    assert told(FAILED) == "failed: broken"
    assert told(UNABLE) == "could not be made: no time"

"""A QEMU that does not answer: when that is told, and what it is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.cause import Cause
from qsup.spec.tables.hang import Hang
from qsup.units import Duration
from qsup.vitals.sample import Pressure, Process, Sample
from qsup.vitals.verdict import Condition, Verdict
from tests.unit.vitals_samples import (
    CLOSER,
    HANG,
    STEP,
    TIMEOUT,
    answered,
    course_of,
    process,
    silent,
    thread,
    told,
)

ASKED = 50.0
ROUNDS = 24
"""Looks, a twentieth of the timeout apart, in the silences of these tests."""


def silence(**more: Any) -> list[Sample]:
    """Answers up to 40, and none to what was asked at 50; ``more`` may be functions of the time."""
    return [
        *(answered(at) for at in (20.0, 30.0, 40.0)),
        *(
            silent(
                at,
                ASKED,
                40.0,
                **{key: value(at) if callable(value) else value for key, value in more.items()},
            )
            for at in (ASKED + CLOSER * number for number in range(ROUNDS))
        ),
    ]


def verdict(**more: Any) -> Verdict:
    return course_of(silence(**more)).verdict(HANG)


def looked_at(*threads: Any, **more: Any) -> Any:
    """A process that is the same at each look."""
    return lambda at: process(*threads, at=at, **more)


def test_what_can_end_a_guest_is_called_as_everywhere_else() -> None:
    others = {Condition.WELL, Condition.QEMU_TRACED, Condition.HOST_STALLED}
    assert {str(condition) for condition in set(Condition) - others} <= {str(cause) for cause in Cause}


def test_a_stopped_process_is_told_as_such_with_the_way_out() -> None:
    found = verdict(process=looked_at(thread("T")))
    assert found.condition is Condition.QEMU_STOPPED
    assert found.since == 45.0, "half way between the last answer and the question that got none"
    assert found.evidence == (
        "a signal has stopped its process (state T); SIGCONT lets it go on",
        "it has not answered query-status for 120 s",
    )


@pytest.mark.parametrize("session", [True, False])
def test_a_process_that_is_let_go_on_has_the_whole_timeout_to_answer(session: bool) -> None:
    stopped_until = ASKED + TIMEOUT
    samples = [
        silent(
            at,
            ASKED,
            40.0,
            process=process(thread("T" if at <= stopped_until else "S"), at=at),
            session=session,
        )
        for at in (ASKED + CLOSER * number for number in range(3 * ROUNDS))
    ]
    (_, stopped), (let_go, well), (again, hung) = told(samples)
    assert (stopped, well) == (Condition.QEMU_STOPPED, Condition.WELL)
    assert hung is (Condition.QEMU_HUNG if session else Condition.QMP_LOST)
    assert let_go == stopped_until + CLOSER
    assert again == let_go + TIMEOUT


def test_it_is_told_when_the_timeout_has_passed_and_not_before() -> None:
    assert told(silence(process=looked_at(thread("T")))) == [(45.0 + TIMEOUT, Condition.QEMU_STOPPED)]


def test_a_debugger_is_not_a_stop() -> None:
    found = verdict(process=looked_at(thread("t")))
    assert found.condition is Condition.QEMU_TRACED
    assert "debugger" in found.evidence[0]


def test_a_blocked_main_loop_is_told_by_the_answers_beside_it() -> None:
    found = verdict(process=looked_at(thread("S", waits_in="wait_for_partner")), urgent=True)
    assert found.condition is Condition.QEMU_HUNG
    assert found.evidence[:2] == (
        "its main loop is held up: its monitor answers out of band",
        "its main thread waits in the kernel (wait_for_partner)",
    )


def test_a_qemu_all_of_which_is_deaf_is_hung_too() -> None:
    found = verdict(process=lambda at: process(thread("R", ran=at), at=at))
    assert found.condition is Condition.QEMU_HUNG
    assert found.evidence[:2] == (
        "neither its main loop nor, out of band, its monitor answers",
        "its main thread is in state R",
    )


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_process_that_has_ended_is_others_business(state: str) -> None:
    assert verdict(process=looked_at(thread(state))) == Verdict()
    assert verdict(process=None) == Verdict()


def test_a_thread_that_nothing_can_wake_is_the_hosts_doing() -> None:
    dead = thread("D", tid=9, name="worker", turns=4, waits_in="percpu_rwsem_wait")
    found = verdict(process=looked_at(thread("S", turns=1), dead), urgent=True)
    assert found.condition is Condition.HOST_STALLED
    assert found.evidence[0] == (
        "its thread 9 (worker) waits for the host's storage or memory (state D, in percpu_rwsem_wait) "
        "(the host held it up at 20 of the last 20 looks)"
    )


def test_a_thread_that_waits_for_storage_again_and_again_is_at_work() -> None:
    def busy(at: float) -> Process:
        return process(thread("S", turns=1), thread("D", tid=9, turns=int(at)), at=at)

    assert verdict(process=busy).condition is Condition.QEMU_HUNG


def test_a_main_thread_that_gets_no_cpu_is_the_hosts_doing() -> None:
    found = verdict(process=looked_at(thread("R", turns=3, ran=1.0)))
    assert found.condition is Condition.HOST_STALLED
    assert "gives it no CPU" in found.evidence[0]


def test_other_threads_may_wait_for_their_turn() -> None:
    waiting = looked_at(thread("S", turns=1), thread("R", tid=9, turns=3))
    assert verdict(process=waiting).condition is Condition.QEMU_HUNG


def test_a_frozen_cgroup_is_the_hosts_doing() -> None:
    found = verdict(process=looked_at(thread("S"), frozen=True))
    assert found.condition is Condition.HOST_STALLED
    assert found.evidence[0] == "its cgroup is frozen"


@pytest.mark.parametrize(("resource", "word"), [("io", "storage"), ("memory", "memory")])
def test_a_host_on_which_all_stand_still_is_to_blame(resource: str, word: str) -> None:
    def pressed(share: float) -> Any:
        return lambda at: process(
            thread("S", turns=int(at)),
            at=at,
            pressure=Pressure(**{"io": 0.0, "memory": 0.0, resource: share * at}),
        )

    found = verdict(process=pressed(0.95))
    assert found.condition is Condition.HOST_STALLED
    assert f"waits for {word}" in found.evidence[0]
    assert verdict(process=pressed(0.5)).condition is Condition.QEMU_HUNG


def test_storage_that_came_back_is_no_excuse_for_long() -> None:
    def revived(at: float) -> Process:
        return process(thread("D" if at < ASKED + TIMEOUT / 4 else "S", turns=1), at=at)

    assert verdict(process=revived).condition is Condition.QEMU_HUNG


def test_a_stop_explains_whatever_else_is_the_case() -> None:
    found = verdict(process=looked_at(thread("T"), thread("D", tid=9)), session=False)
    assert found.condition is Condition.QEMU_STOPPED
    assert "no QMP session" in found.evidence[-1]


def test_a_living_process_without_a_session_has_lost_it() -> None:
    found = verdict(process=looked_at(thread("S", turns=1)), session=False, urgent=None)
    assert found.condition is Condition.QMP_LOST
    assert found.evidence[-1] == "there has been no QMP session to it for 120 s"


def test_a_monitor_that_greets_and_answers_nothing_is_that_of_a_qemu_that_hangs() -> None:
    found = verdict(process=looked_at(thread("S", turns=1)), session=False, urgent=None, greets=True)
    assert found.condition is Condition.QEMU_HUNG
    assert found.evidence[0] == "its main loop is held up: its monitor greets, and answers nothing"
    stopped = verdict(process=looked_at(thread("T")), session=False, urgent=None)
    assert stopped.condition is Condition.QEMU_STOPPED


def test_an_answer_ends_it_at_once() -> None:
    samples = [*silence(process=looked_at(thread("T"))), answered(200.0)]
    assert told(samples)[-1] == (200.0, Condition.WELL)


def test_a_session_that_was_never_had_counts_from_the_first_sample() -> None:
    samples = [silent(at, 50.0, None, session=False) for at in range(50, 171, 5)]
    assert told(samples) == [(150.0, Condition.QMP_LOST)]


def test_it_is_never_asked_with_a_timeout_of_zero() -> None:
    hang = Hang(qemu_timeout=Duration(0), guest_timeout=Duration(TIMEOUT))
    assert told(silence(process=looked_at(thread("T"))), hang) == []


def test_what_a_snapshot_holds_up_counts_from_its_end() -> None:
    samples = silence(busy=lambda at: at < 60.0)
    samples += [silent(at, ASKED, 40.0) for at in (170.0, 175.0)]
    assert told(samples) == [(55.0 + TIMEOUT, Condition.QEMU_HUNG)]


def test_a_host_that_slept_starts_the_count_again() -> None:
    samples = silence(slept=lambda at: 0.0 if at < 100.0 else 3600.0)
    samples += [silent(at, ASKED, 40.0, slept=3600.0) for at in range(170, 211, 5)]
    assert told(samples) == [(100.0 + TIMEOUT, Condition.QEMU_HUNG)]


def test_a_daemon_that_could_not_look_starts_the_count_again() -> None:
    late = 90.0 + TIMEOUT
    samples = [sample for sample in silence() if sample.at <= 90.0]
    samples += [silent(late + CLOSER * number, ASKED, 40.0) for number in range(ROUNDS)]
    assert told(samples) == [(late + TIMEOUT, Condition.QEMU_HUNG)]


def test_what_has_been_told_is_not_taken_back_for_want_of_looks() -> None:
    samples = silence(process=looked_at(thread("T")))
    samples.append(silent(1000.0, ASKED, 40.0, process=process(thread("T"))))
    assert [condition for _, condition in told(samples)] == [Condition.QEMU_STOPPED]


@given(st.lists(st.tuples(st.floats(0.01, TIMEOUT), st.booleans(), st.booleans()), max_size=60))
def test_a_qemu_that_answers_once_in_each_timeout_is_never_accused(
    steps: list[tuple[float, bool, bool]],
) -> None:
    """Whatever the gaps between samples, as long as no silence reaches the timeout."""
    at = heard = asked = 0.0
    samples = []
    for gap, answers, stopped in steps:
        at += gap
        if answers or at - heard >= TIMEOUT:
            heard = asked = at
            samples.append(answered(at))
        else:
            asked = at if asked == heard else asked
            samples.append(silent(at, asked, heard, process=process(thread("T" if stopped else "S"), at=at)))
    assert told(samples) == []


@given(st.lists(st.floats(0.01, TIMEOUT / 5), min_size=1, max_size=80))
def test_a_qemu_that_is_slow_to_answer_each_time_is_never_accused(gaps: list[float]) -> None:
    """At each sample a question is open, but never the same for long."""
    at, samples = 0.0, [answered(0.0)]
    for gap in gaps:
        samples.append(silent(at + gap, at + gap / 2, at + gap / 3, process=process(thread("T"))))
        at += gap
    assert told(samples) == []


@given(st.floats(0.001, STEP - 0.001), st.floats(0, 0.01))
def test_a_stop_is_told_within_its_time_give_or_take_a_twentieth(moment: float, patience: float) -> None:
    """A watch asks each tenth of the timeout, and looks each twentieth once an answer is missing."""
    stop, asked = 40.0 + moment, 50.0
    samples = [answered(30.0), answered(40.0)]
    for number in range(30):
        at = asked + CLOSER * number + patience * TIMEOUT
        samples.append(silent(at, asked, 40.0, process=process(thread("T"), at=at)))
    (when, condition), *_ = told(samples)
    assert condition is Condition.QEMU_STOPPED
    assert abs(when - stop - TIMEOUT) <= TIMEOUT * (0.05 + 0.011)


@given(
    st.lists(
        st.tuples(st.floats(0.01, STEP), st.floats(0.0, 3.0), st.sampled_from("STDRt"), st.booleans()),
        max_size=80,
    )
)
def test_no_order_of_things_raises_and_all_that_is_told_has_evidence(
    steps: list[tuple[float, float, str, bool]],
) -> None:
    at, began, before, samples = 0.0, 0.0, "S", [answered(0.0)]
    for gap, turns, state, session in steps:
        at += gap
        if before in "Tt" and state not in "Tt":
            began = at
        before = state
        seen = process(thread(state, turns=int(turns)), at=at)
        samples.append(silent(at, 0.0, 0.0, process=seen, session=session))
        found = course_of(samples).verdict(HANG)
        assert (found.condition is Condition.WELL) == (at - began < TIMEOUT)
        assert found.evidence or found.condition is Condition.WELL

"""A guest that makes no progress: when that is told, and what all is progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.spec.tables.hang import Hang
from qsup.units import Duration
from qsup.vitals.sample import Look, Sample, Thread, Work
from qsup.vitals.stillness import FIRMWARE
from qsup.vitals.verdict import Condition, Verdict
from tests.unit.vitals_samples import (
    CLOSER,
    HANG,
    STEP,
    TIMEOUT,
    answered,
    course_of,
    lively,
    look,
    silent,
    still,
    thread,
    told,
    vcpu,
)

BEGAN = 45.0
"""Half way between the last lively look and the first still one."""
KVM = Work(disk=3, served=1000)
ROUNDS = 24


def story(
    of: Callable[[float], Look], *, first: Callable[[float], Sample] = lively, **more: Any
) -> list[Sample]:
    """A guest that is well up to 40, then looks from 50 on as told."""
    return [
        *(first(at) for at in (20.0, 30.0, 40.0)),
        *(answered(at, look=of(at), **more) for at in (50.0 + CLOSER * number for number in range(ROUNDS))),
    ]


def verdict(of: Callable[[float], Look], **more: Any) -> Verdict:
    return course_of(story(of, **more)).verdict(HANG)


def spinner(at: float, share: float = 1.0, state: str = "R", index: int = 0) -> Thread:
    """The thread of a vCPU that has had this share of a CPU all the time."""
    return thread(state, tid=100 + index, ran=share * at)


def spinning(at: float, share: float = 1.0, state: str = "R", work: Work = KVM) -> Look:
    return look(at, vcpu(halted=False, thread=spinner(at, share, state)), work=work)


def test_a_guest_that_rests_with_interrupts_off_is_hung_when_the_timeout_has_passed() -> None:
    assert told(story(look)) == [(BEGAN + TIMEOUT, Condition.GUEST_HUNG)]
    found = verdict(look)
    assert found.since == BEGAN
    assert found.evidence == (
        "none of its vCPUs (1) had interrupts on at 24 looks within 120 s",
        "vCPU 0 rests with interrupts off at 0x7c00",
        "it has used no disk",
    )


def test_a_guest_that_runs_in_a_circle_is_hung_by_all_witnesses() -> None:
    found = verdict(lambda at: spinning(at, work=Work(disk=0, sent=9, served=5)))
    assert found.condition is Condition.GUEST_HUNG
    assert found.evidence[1:] == (
        "vCPU 0 runs with interrupts off at 0x7c00",
        "KVM has given it no interrupt, and had nothing to do for it",
        "it has used no disk",
        "it has sent nothing",
    )


@pytest.mark.parametrize("halted", [True, False])
def test_one_vcpu_that_takes_interrupts_is_enough(halted: bool) -> None:
    def of(at: float) -> Look:
        return look(at, vcpu(), vcpu(index=1, interrupts=True, halted=halted))

    assert told(story(of)) == []


@pytest.mark.parametrize(
    "work",
    [
        lambda at: Work(disk=int(at), sent=0, served=0),
        lambda at: Work(disk=0, sent=int(at), served=0),
        lambda at: Work(disk=0, sent=0, served=int(at)),
    ],
)
def test_whatever_shows_outside_acquits(work: Callable[[float], Work]) -> None:
    assert told(story(lambda at: look(at, work=work(at)))) == []
    assert told(story(lambda at: spinning(at, work=work(at)))) == []


def test_without_counters_of_kvm_none_is_said_to_run_in_a_circle() -> None:
    assert told(story(lambda at: spinning(at, work=Work(disk=0)))) == []


def test_a_flag_that_was_never_seen_set_says_nothing_of_a_guest_that_runs() -> None:
    def first(at: float) -> Sample:
        return answered(at)

    assert told(story(spinning, first=first)) == []
    assert told(story(look, first=first))[0][1] is Condition.GUEST_HUNG, "one that rests needs no such proof"


def test_a_vcpu_that_the_host_starves_is_no_witness() -> None:
    assert told(story(lambda at: spinning(at, share=0.01))) == []
    assert told(story(lambda at: spinning(at, share=0.2)))[0][1] is Condition.GUEST_HUNG


def test_vcpus_that_nobody_has_started_are_in_nobodys_way() -> None:
    def of(at: float) -> Look:
        return look(at, vcpu(), vcpu(index=1, halted=False, thread=thread("S", tid=101)))

    assert told(story(of))[0][1] is Condition.GUEST_HUNG
    assert told(story(lambda at: look(at, vcpu(halted=False, thread=thread("S", tid=100))))) == []


def test_some_that_rest_and_some_that_run_are_hung_together() -> None:
    def of(at: float) -> Look:
        return look(at, vcpu(), vcpu(index=1, halted=False, thread=spinner(at, index=1)), work=KVM)

    assert verdict(of).condition is Condition.GUEST_HUNG


def test_only_some_vcpus_are_described() -> None:
    found = verdict(lambda at: look(at, *(vcpu(index=number) for number in range(9))))
    assert found.evidence[0].startswith("none of its vCPUs (9)")
    assert sum("rests" in sentence for sentence in found.evidence) == 4


def test_a_vcpu_that_nothing_can_wake_is_the_hosts_doing() -> None:
    dead = thread("D", tid=101)
    found = verdict(lambda at: look(at, stuck=dead))
    assert found.condition is Condition.HOST_STALLED
    assert found.evidence == (
        "a vCPU's thread 101 waits for the host's storage or memory (state D), at 24 looks within 120 s",
    )
    assert told(story(lambda at: look(at, stuck=thread("t")))) == []


def test_now_stuck_now_still_is_neither() -> None:
    def of(at: float) -> Look:
        return look(at, stuck=thread("D") if at % 10 else None)

    assert told(story(of)) == []


@pytest.mark.parametrize("more", [{"run_state": "paused"}, {"run_state": None}, {"busy": True}])
def test_a_guest_that_is_held_makes_no_progress_rightly(more: dict[str, Any]) -> None:
    assert told(story(look, **more)) == []


def test_a_pause_starts_the_count_again() -> None:
    samples = story(look)
    samples[12] = answered(samples[12].at, run_state="paused")
    (when, _), *_ = told([*samples, *(still(170.0 + CLOSER * number) for number in range(20))])
    assert when == samples[13].at + TIMEOUT


def test_firmware_may_have_interrupts_off() -> None:
    booted = 30.0
    (when, condition), *_ = told(story(look, booted=booted))
    assert condition is Condition.GUEST_HUNG
    assert when >= booted + FIRMWARE + TIMEOUT - CLOSER


def test_a_reset_starts_the_count_again() -> None:
    def boots(at: float) -> float:
        return 0.0 if at < 120.0 else 120.0

    samples = [still(at, booted=boots(at)) for at in (5.0 * number for number in range(60))]
    changes = told(samples)
    assert [condition for _, condition in changes] == [Condition.GUEST_HUNG]
    assert changes[0][0] >= 120.0 + FIRMWARE + TIMEOUT - CLOSER


def test_a_host_that_slept_starts_the_count_again() -> None:
    def slept(at: float) -> float:
        return 0.0 if at < 100.0 else 3600.0

    samples = [
        lively(40.0),
        *(still(at, slept=slept(at)) for at in (50.0 + 5.0 * number for number in range(40))),
    ]
    assert told(samples) == [(100.0 + TIMEOUT, Condition.GUEST_HUNG)]


def test_looks_that_failed_to_come_start_the_count_again() -> None:
    samples = [lively(40.0), *map(still, (50.0, 55.0, 60.0)), answered(70.0), answered(90.0)]
    samples += [still(95.0 + CLOSER * number) for number in range(ROUNDS)]
    assert told(samples) == [(95.0 + TIMEOUT, Condition.GUEST_HUNG)]


def test_only_progress_acquits_of_what_has_been_told() -> None:
    samples = [*story(look), answered(400.0), still(500.0)]
    assert [condition for _, condition in told(samples)] == [Condition.GUEST_HUNG]
    assert told([*samples, lively(510.0)])[-1] == (510.0, Condition.WELL)


def test_a_qemu_that_falls_silent_is_the_greater_trouble() -> None:
    samples = story(look)
    asked = samples[-1].at + 1
    samples += [silent(asked + CLOSER * number, asked, samples[-1].at) for number in range(ROUNDS)]
    assert [condition for _, condition in told(samples)] == [Condition.GUEST_HUNG, Condition.QEMU_HUNG]


def test_it_is_never_looked_for_with_a_timeout_of_zero() -> None:
    hang = Hang(qemu_timeout=Duration(TIMEOUT), guest_timeout=Duration(0))
    assert told(story(look), hang) == []


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, TIMEOUT / 2), st.sampled_from(["still", "spin", "stuck", "none"]), st.booleans()
        ),
        max_size=60,
    )
)
def test_a_guest_that_moves_once_in_each_timeout_is_never_accused(
    steps: list[tuple[float, str, bool]],
) -> None:
    """Whatever is seen in between: a look at progress, or a counter that has moved, comes in time."""
    at = moved = 0.0
    count = 0
    samples = [lively(0.0)]
    for gap, seen, by_counter in steps:
        at += gap
        if at - moved >= TIMEOUT - CLOSER:
            moved, count = at, count + by_counter
            # A counter says something only if there was a look before to compare with.
            compared = by_counter and samples[-1].look is not None and not samples[-1].look.awake
            work = Work(disk=count, served=count)
            samples.append(answered(at, look=look(at, work=work)) if compared else lively(at))
        elif seen == "none":
            samples.append(answered(at))
        elif seen == "stuck":
            samples.append(
                answered(at, look=look(at, stuck=thread("D"), work=Work(disk=count, served=count)))
            )
        else:
            work = Work(disk=count, served=count)
            samples.append(
                answered(at, look=spinning(at, work=work) if seen == "spin" else look(at, work=work))
            )
    assert told(samples) == []


@given(st.floats(0.0, STEP), st.sampled_from([look, spinning]))
def test_a_hang_is_told_within_its_time_give_or_take_a_tenth(
    moment: float, of: Callable[[float], Look]
) -> None:
    (when, condition), *_ = told(story(of))
    assert condition is Condition.GUEST_HUNG
    assert abs(when - (40.0 + moment) - TIMEOUT) <= TIMEOUT / 10

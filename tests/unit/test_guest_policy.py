"""The restart policy: pure numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsup.cause import Cause
from qsup.guest.policy import JITTER, decide, delay, react, within_window
from qsup.spec.policy import Reaction, Restart, RestartOn, RestartPolicy
from qsup.units import Duration

seconds = st.floats(min_value=0, max_value=1e6).map(Duration)


@given(
    first=seconds,
    longest=seconds,
    streak=st.integers(0, 10**6),
    jitter=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_a_delay_is_never_above_the_maximum_nor_below_its_jittered_share(
    first: Duration, longest: Duration, streak: int, jitter: float
) -> None:
    policy = RestartPolicy(delay=first, max_delay=longest)
    assert 0 <= delay(policy, streak, jitter) <= longest
    assert delay(policy, streak, jitter) >= min(first, longest) * (1 - JITTER)


def test_the_delay_doubles_with_each_failure_in_a_row() -> None:
    policy = RestartPolicy(delay=Duration(1), max_delay=Duration(60))
    assert [delay(policy, streak, 0.0) for streak in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_an_operators_wish_is_never_answered_with_a_restart() -> None:
    assert react(Cause.OPERATOR, RestartPolicy(policy=Restart.ALWAYS)).reaction is Reaction.STOP


def test_a_rule_for_the_cause_beats_the_policy_and_is_named() -> None:
    policy = RestartPolicy(policy=Restart.NEVER, on=RestartOn(guest_panic=Reaction.RESTART))
    decision = decide(Cause.GUEST_PANIC, policy, (1.0,), 1, 0.0)
    assert decision.restart
    assert 'restart.on.guest-panic = "restart"' in decision.rule


def test_limit_zero_never_gives_up() -> None:
    policy = RestartPolicy(limit=0, delay=Duration(0))
    assert not decide(Cause.QEMU_SIGNAL, policy, (1.0,) * 999, 999, 0.0).gave_up


@given(
    ages=st.lists(st.floats(min_value=0, max_value=2000), max_size=40),
    limit=st.integers(0, 10),
    window=st.floats(min_value=0, max_value=1000),
)
def test_only_the_failures_in_the_window_are_kept_and_no_more_than_the_limit_needs(
    ages: list[float], limit: int, window: float
) -> None:
    policy = RestartPolicy(limit=limit, window=Duration(window))
    kept = within_window(tuple(sorted(2000 - age for age in ages)), policy, 2000)
    assert all(2000 - at <= window for at in kept)
    assert len(kept) == min(max(limit, 1), sum(2000 - (2000 - age) <= window for age in ages))

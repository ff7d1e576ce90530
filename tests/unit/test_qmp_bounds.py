"""The token bucket and the table of deadlines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsup.bucket import Bucket
from qsup.qmp.deadlines import DEFAULT, deadline


def test_a_burst_is_free_and_what_follows_waits_its_turn() -> None:
    bucket = Bucket(rate=8, burst=3)
    assert [bucket.take(100.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.125, 0.25]
    assert bucket.take(100.375) == 0.0, "two turns that were waited for, and this one"


def test_a_cost_is_paid_in_full_even_if_it_is_larger_than_the_burst() -> None:
    bucket = Bucket(rate=10, burst=3)
    assert bucket.take(0.0, 23) == 2.0


def test_what_is_not_there_is_not_spent() -> None:
    bucket = Bucket(rate=1, burst=2)
    assert [bucket.spend(0.0) for _ in range(4)] == [True, True, False, False]
    assert [bucket.spend(1.0) for _ in range(2)] == [True, False]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200))
def test_no_pattern_of_times_gets_more_than_burst_and_rate_allow(gaps: list[float]) -> None:
    bucket = Bucket(rate=2, burst=5)
    now, spent = 0.0, 0
    for gap in gaps:
        now += gap
        spent += bucket.spend(now)
    assert spent <= 5 + 2 * now + 1e-6


def test_commands_that_wait_for_storage_have_more_time_than_others() -> None:
    assert deadline("query-status") == DEFAULT
    assert deadline("blockdev-add") > DEFAULT

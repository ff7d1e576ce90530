"""The loop's lag is what others had to wait, and measuring it wakes nobody up."""

from __future__ import annotations

import asyncio
import selectors
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.histogram import MOMENTS, Histogram
from qsup.loop import TimedSelector, timed_loop


def run(scene: object, lag: Histogram) -> None:
    with asyncio.Runner(loop_factory=lambda: timed_loop(lag)) as runner:
        runner.run(scene)  # type: ignore[arg-type]


def above(lag: Histogram, bound: float) -> int:
    """How many values were greater than one of the bounds."""
    counted = lag.counted()
    return counted.counts[-1] - counted.counts[counted.bounds.index(bound)]


def test_what_holds_up_the_loop_shows() -> None:
    lag = Histogram()

    async def scene() -> None:
        await asyncio.sleep(0)
        assert above(lag, 0.25) == 0
        time.sleep(0.3)  # noqa: ASYNC251 - as a bug would
        await asyncio.sleep(0)
        assert above(lag, 0.25) == 1

    run(scene(), lag)


def test_waiting_is_no_lag() -> None:
    lag = Histogram()

    async def scene() -> None:
        before = lag.counted().counts[-1]
        await asyncio.sleep(0.3)
        # One round in which the timer was set, one in which it came.
        assert lag.counted().counts[-1] - before <= 2
        assert above(lag, 0.25) == 0

    run(scene(), lag)


def test_a_timer_that_comes_late_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the host has given the daemon no CPU while it slept."""
    now = 100.0

    def sleep(_self: object, timeout: float | None) -> list[object]:
        nonlocal now
        now += 4.0 + (timeout or 0.0)
        return []

    monkeypatch.setattr("qsup.loop.time.monotonic", lambda: now)
    monkeypatch.setattr(selectors.EpollSelector, "select", sleep)
    lag = Histogram()
    with TimedSelector(lag) as selector:
        selector.select(1.0)
        now += 0.5
        selector.select(None)
        assert lag.counted().sum == 4.5
        selector.select(1.0)
        assert lag.counted().sum == 4.5, "nobody had said when"


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_a_histogram_counts_each_value_once_and_up_to_its_bound(values: list[float]) -> None:
    made = Histogram()
    for value in values:
        made.observe(value)
    counted = made.counted()
    assert counted.bounds == MOMENTS
    assert counted.counts[-1] == len(values)
    for bound, count in zip(counted.bounds, counted.counts, strict=False):
        assert count == sum(value <= bound for value in values)
    assert counted.sum == pytest.approx(sum(values))

"""One time for the stop of many guests: nobody outlives it, and it is shared fairly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.budget import MOST_RESERVED, RESERVE, Need, plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.budget import Plan


def usable(budget: float) -> float:
    return budget - min(MOST_RESERVED, budget * RESERVE)


@st.composite
def needs(draw: st.DrawFn) -> dict[str, Need]:
    """Guests, each of which comes after some of those before it."""
    made: dict[str, Need] = {}
    for number in range(draw(st.integers(0, 9))):
        after = draw(st.lists(st.sampled_from(sorted(made)), unique=True, max_size=3)) if made else []
        made[f"g{number}"] = Need(draw(st.floats(0, 600)), (*after, "not-running"))
    return made


def ends(guests: Mapping[str, Need], made: Plan) -> dict[str, float]:
    """When each guest is gone if every one of them takes all the time that it can have."""
    gone: dict[str, float] = {}

    def gone_at(name: str) -> float:
        if name not in gone:
            turn = max((gone_at(other) for other, need in guests.items() if name in need.after), default=0.0)
            gone[name] = turn + made.shares[name].allowance(turn)
        return gone[name]

    return {name: gone_at(name) for name in guests}


@given(needs(), st.floats(0.1, 2000))
def test_nobody_outlives_the_budget_and_each_has_its_share_even_if_all_take_all(
    guests: dict[str, Need], budget: float
) -> None:
    made = plan(guests, budget)
    assert made.shares.keys() == guests.keys()
    for name, end in ends(guests, made).items():
        share = made.shares[name]
        assert end <= share.latest + 1e-6 <= usable(budget) + 2e-6
        turn = max(
            (ends(guests, made)[other] for other in guests if name in guests[other].after), default=0.0
        )
        assert share.allowance(turn) == pytest.approx(share.share, abs=1e-6), (
            "it says less or more than is true"
        )
        assert -1e-6 <= share.share <= share.need == guests[name].seconds


def slowest(guests: Mapping[str, Need], most: float) -> float:
    """How long the slowest chain takes if no guest has more than so many seconds."""

    def chain(name: str) -> float:
        after = [chain(other) for other in guests[name].after if other in guests]
        return min(guests[name].seconds, most) + max(after, default=0.0)

    return max((chain(name) for name in guests), default=0.0)


@given(needs(), st.floats(0.1, 2000))
def test_it_is_shared_fairly(guests: dict[str, Need], budget: float) -> None:
    """Somebody is cut short only if the time is not enough, and then the least share could not be any larger."""
    made = plan(guests, budget)
    time = usable(budget)
    if slowest(guests, 600) <= time:
        assert made.short == []
        assert made.needed <= budget + 1e-6
    if made.short:
        least = min(made.shares[name].share for name in made.short)
        assert slowest(guests, least + 0.01) > time
        assert slowest(guests, least - 0.01) <= time


def test_side_by_side_each_has_all_the_time() -> None:
    made = plan({"a": Need(90), "b": Need(100)}, 120)
    assert (made.needed, made.short) == (101, [])
    assert {share.latest for share in made.shares.values()} == {119.0}


def test_a_quick_one_is_not_cut_short_for_a_slow_one() -> None:
    made = plan({"web": Need(300, ("db",)), "db": Need(20)}, 100)
    assert made.short == ["web"]
    assert made.shares["db"].share == 20
    assert made.shares["web"].share == pytest.approx(79)
    assert made.shares["web"].latest == pytest.approx(79)


def test_what_one_does_not_use_the_next_has() -> None:
    made = plan({"web": Need(300, ("db",)), "db": Need(300)}, 101)
    assert [made.shares[name].share for name in ("web", "db")] == [pytest.approx(50), pytest.approx(50)]
    assert made.shares["db"].allowance(3) == pytest.approx(97)
    assert made.shares["web"].allowance(0) == pytest.approx(50)


def test_with_nobody_to_stop_nothing_is_needed() -> None:
    made = plan({}, 60)
    assert (made.needed, made.short, made.shares) == (0, [], {})


def test_a_chain_of_a_thousand_is_planned_at_once() -> None:
    made = plan({f"g{n}": Need(10, (f"g{n - 1}",)) for n in range(1000)}, 100)
    assert made.shares["g5"].share == pytest.approx(0.099)

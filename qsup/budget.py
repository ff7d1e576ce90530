"""One time for the stop of many guests: whether it is enough, and how it is shared. Pure.

Guests stop in chains, each before those that it comes after, and chains stop side by side. If the slowest chain
cannot have all the time that its guests' files give them, there is a level above which nobody is given time for sure:
the quick ones have what they ask for, the slow ones the same each. What a guest does not use of its time, those have
that stop after it.
"""

from __future__ import annotations

import math
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVE: Final = 0.05
"""The share of the time that is left for the daemon itself to see the last guest end, and to tell of it."""
MOST_RESERVED: Final = 1.0
"""Seconds that this is at most."""
GRAIN: Final = 0.001
"""Seconds that are nothing."""
STEPS: Final = 50
"""How often the level is halved in; by then it is exact to less than a nanosecond."""


class Need(msgspec.Struct, frozen=True):
    """The seconds that a guest may take by its file, and the guests that it comes after."""

    seconds: float
    after: tuple[str, ...] = ()


class Share(msgspec.Struct, frozen=True):
    """What a guest may take by its file, what it has for sure, and when it is to be gone at the latest.

    All in seconds, the last one from the beginning of the stop.
    """

    need: float
    share: float
    latest: float

    def allowance(self, elapsed: float) -> float:
        """What it can have if its turn comes after ``elapsed`` seconds."""
        return min(self.need, max(0.0, self.latest - elapsed))


class Plan(msgspec.Struct, frozen=True):
    """How ``budget`` seconds are shared; ``needed`` is what the slowest chain may take by its guests' files."""

    budget: float
    needed: float
    shares: dict[str, Share]

    @property
    def short(self) -> list[str]:
        """The guests that can be sure of less than what their files give them."""
        return sorted(name for name, share in self.shares.items() if share.share < share.need - GRAIN)


def plan(needs: Mapping[str, Need], budget: float) -> Plan:
    """Share the time. What a guest comes after counts only as far as it is among those that are to be stopped."""
    time = budget - min(MOST_RESERVED, budget * RESERVE)
    tails = _tails(needs, math.inf)
    needed = _longest(needs, tails, math.inf)
    if needed > time:
        tails = _tails(needs, _level(needs, time))
    return Plan(budget, needed + budget - time if needs else 0.0, _shares(needs, tails, time))


def _shares(needs: Mapping[str, Need], tails: Mapping[str, float], time: float) -> dict[str, Share]:
    """What each has for sure: even if all before it, who are those that come after it, take all that they can have."""
    shares: dict[str, Share] = {}
    turns = dict.fromkeys(needs, 0.0)
    for name in reversed([*tails]):
        need, latest = needs[name], time - tails[name]
        sure = min(need.seconds, latest - turns[name])
        shares[name] = Share(need.seconds, sure, latest)
        for other in need.after:
            if other in turns:
                turns[other] = max(turns[other], turns[name] + sure)
    return shares


def _level(needs: Mapping[str, Need], time: float) -> float:
    """The most that any guest can have so that no chain takes longer."""
    low, high = 0.0, max(need.seconds for need in needs.values())
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _longest(needs, _tails(needs, middle), middle) <= time:
            low = middle
        else:
            high = middle
    return low


def _longest(needs: Mapping[str, Need], tails: Mapping[str, float], level: float) -> float:
    return max((min(need.seconds, level) + tails[name] for name, need in needs.items()), default=0.0)


def _tails(needs: Mapping[str, Need], level: float) -> dict[str, float]:
    """For each guest the time of those that stop after it, if none has more than the level; the last to stop first."""
    before = {name: [other for other in need.after if other in needs] for name, need in needs.items()}
    tails: dict[str, float] = {}
    for name in TopologicalSorter(before).static_order():
        tails[name] = max(
            (min(needs[other].seconds, level) + tails[other] for other in before[name]), default=0.0
        )
    return tails

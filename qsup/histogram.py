"""How often something took how long: counts by upper bounds, cheap enough to be kept always."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MOMENTS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds, in seconds, for what should take no time at all."""


class Counted(NamedTuple):
    """What a histogram held at one moment."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """How many values were at most each bound, and last how many there were."""
    sum: float


class Histogram:
    """Counts values."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = MOMENTS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def counted(self) -> Counted:
        """What it holds now."""
        return Counted(self._bounds, tuple(accumulate(self._counts)), self._sum)

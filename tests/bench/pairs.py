"""Two things measured in turn, A B A B …, so that a machine that drifts drifts for both; ratios pair by pair.

Each side must leave the machine as quiet as it found it: a guest of one side that goes on running takes a core from
the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

PAIRS = 15
WARMUP = 2

Measure = Callable[[], float]
"""Does the thing once, cleans up, and returns the seconds that the thing itself took."""


def compare(what: str, us: str, them: str, ours: Measure, theirs: Measure, pairs: int) -> None:
    """Measure both sides pair by pair, after a warm-up, and print the result."""
    measured = [(ours(), theirs()) for _ in range(WARMUP + pairs)][WARMUP:]
    print(f"{what}: {us} / {them}, {pairs} pairs")
    print(f"    {us:<24} {_spread([1000 * our for our, _ in measured])} ms")
    print(f"    {them:<24} {_spread([1000 * their for _, their in measured])} ms")
    print(f"    {'ratio':<24} {_spread([our / their for our, their in measured])}", flush=True)


def _spread(values: list[float]) -> str:
    return f"{min(values):8.2f} {statistics.median(values):8.2f} {max(values):8.2f}"

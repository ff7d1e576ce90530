"""Two things measured in turn, A B A B …, so that a machine that drifts drifts for both; ratios pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable

PAIRS = 15
WARMUP = 2

Measure = Callable[[], Awaitable[float]]
"""Does the thing once and returns the seconds that it took."""


async def alternate(ours: Measure, theirs: Measure, pairs: int = PAIRS) -> tuple[list[float], list[float]]:
    """The seconds of both sides, pair by pair, after a warm-up."""
    a: list[float] = []
    b: list[float] = []
    for number in range(WARMUP + pairs):
        pair = (await ours(), await theirs())
        if number >= WARMUP:
            a.append(pair[0])
            b.append(pair[1])
    return a, b


def report(what: str, us: str, them: str, ours: list[float], theirs: list[float]) -> None:
    """One result: both sides in milliseconds and their ratio, each as minimum, median, maximum."""
    ratios = [x / y for x, y in zip(ours, theirs, strict=True)]
    print(f"{what}: {us} / {them}")
    print(f"    {us:<24} {_spread([x * 1000 for x in ours])} ms")
    print(f"    {them:<24} {_spread([x * 1000 for x in theirs])} ms")
    print(f"    {'ratio':<24} {_spread(ratios)}", flush=True)


def _spread(values: list[float]) -> str:
    return f"{min(values):8.2f} {statistics.median(values):8.2f} {max(values):8.2f}"

"""How often somebody is told: at most so many times about one guest within a window that slides. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

COUNTED: Final = 10_000
"""Pairs of alert and guest that are counted; of more, those that were quiet for longest are forgotten."""


class _Count:
    __slots__ = ("left_out", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        self.left_out = 0


class Limit:
    """Counts what is sent, for each alert and guest by themselves. Times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()

    def admit(self, alert: str, guest: str, most: int, window: float, now: float) -> int | None:
        """Count one more, if ``most`` within ``window`` are not reached: then how many were left out before it.

        None if it has to be left out itself.
        """
        count = self._counts.setdefault((alert, guest), _Count())
        self._counts.move_to_end((alert, guest))
        if len(self._counts) > COUNTED:
            self._counts.popitem(last=False)
        while count.times and count.times[0] <= now - window:
            count.times.popleft()
        if len(count.times) >= most:
            count.left_out += 1
            return None
        count.times.append(now)
        left_out, count.left_out = count.left_out, 0
        return left_out

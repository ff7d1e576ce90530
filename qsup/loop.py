"""The event loop, and how late it was with what it had to do.

Nothing wakes up for that: the loop asks its selector for news in every round anyway, and there the clock is read.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsup.histogram import Histogram

Ready = list[tuple[selectors.SelectorKey, int]]


class TimedSelector(selectors.EpollSelector):
    """Observes each round of the loop that it serves: how long whatever came during it had to wait at most.

    That is the time which the round took, and how much later it began than a timer wanted.
    """

    def __init__(self, lag: Histogram) -> None:
        super().__init__()
        self._lag = lag
        self._began: float | None = None
        self._late = 0.0

    def select(self, timeout: float | None = None) -> Ready:
        """As any selector."""
        asked = time.monotonic()
        if self._began is not None:
            self._lag.observe(asked - self._began + self._late)
        ready = super().select(timeout)
        self._began = time.monotonic()
        overslept = self._began - asked - timeout if timeout and not ready else 0.0
        self._late = max(0.0, overslept)
        return ready


def timed_loop(lag: Histogram) -> asyncio.AbstractEventLoop:
    """A loop whose lag is observed."""
    return asyncio.SelectorEventLoop(TimedSelector(lag))

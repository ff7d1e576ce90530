"""One time for all that happened, on which no jump of the wall clock can be seen. Pure.

Within a boot of the host it goes as the boot's own clock. Between two boots nothing but the wall clock can say how
long the host was down; where that has jumped back, no time has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.history.kept import Moment, Watch


class Timeline:
    """Puts moments of watches in their order into one time, in seconds; it never runs backwards.

    ``watches`` are in their order, and none is missing between two of them.
    """

    def __init__(self, watches: Iterable[Watch]) -> None:
        self.began: dict[int, float] = {}
        self.seen: dict[int, float] = {}
        """The beginning, and the last sign of life, of each watch."""
        self._offsets: dict[int, float] = {}
        self._last: Watch | None = None
        for watch in watches:
            offset = self._offset(watch.boot, watch.began)
            self._offsets[watch.id] = offset
            self.began[watch.id] = max(watch.began.now + offset, self._end())
            self.seen[watch.id] = max(watch.seen.now + offset, self.began[watch.id])
            self._last = watch

    def at(self, watch: int, now: float) -> float:
        """The moment of a watch at which the boot's clock showed ``now``."""
        return max(now + self._offsets[watch], self.began[watch])

    def until(self, boot: str, moment: Moment) -> float:
        """A moment after all watches, or in the last one."""
        return max(moment.now + self._offset(boot, moment), self._end())

    def _end(self) -> float:
        return self.seen[self._last.id] if self._last is not None else float("-inf")

    def _offset(self, boot: str, moment: Moment) -> float:
        """What is to be added to the clock of a boot, of which this moment is told next."""
        last = self._last
        if last is None:
            return moment.wall - moment.now
        if last.boot == boot:
            return self._offsets[last.id]
        return self._end() + max(0.0, moment.wall - last.seen.wall) - moment.now

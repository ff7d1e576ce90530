"""The board that runner and daemon share: how often each point was passed, and at which the daemon is to die.

A mapped file, so that it outlives the daemon that dies, and counting costs no more than an addition.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSES: Final = 0
ARMED: Final = 1
DEATHS: Final = 2
COLUMNS: Final = 3


class Board:
    """A row of three numbers for each point."""

    def __init__(self, path: Path, points: Sequence[str]) -> None:
        self._rows = {point: number * COLUMNS for number, point in enumerate(points)}
        size = len(points) * COLUMNS * 4
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), size)).cast("I")

    def row(self, point: str) -> int:
        """Where a point's numbers begin."""
        return self._rows[point]

    def passed(self, row: int) -> bool:
        """A point was passed: count it, and say whether the daemon is to die there now."""
        self._cells[row + PASSES] += 1
        if not self._cells[row + ARMED]:
            return False
        self._cells[row + ARMED] -= 1
        if self._cells[row + ARMED]:
            return False
        self._cells[row + DEATHS] += 1
        return True

    def arm(self, point: str, passes: int = 1) -> None:
        """Have the daemon die when it passes the point for the n-th time from now on."""
        self._cells[self.row(point) + ARMED] = passes

    def disarm(self) -> None:
        """Let it live."""
        for row in self._rows.values():
            self._cells[row + ARMED] = 0

    def passes(self, point: str) -> int:
        """How often it was passed so far, by any daemon."""
        return self._cells[self.row(point) + PASSES]

    def deaths(self, point: str) -> int:
        """How many daemons have died there."""
        return self._cells[self.row(point) + DEATHS]

"""What the history is made of: daemons that watched, and events that happened meanwhile. Pure.

Every moment is kept on both clocks of :mod:`qsup.clock`: wall time for people, and the clock of the boot, which
never jumps, for figures.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

LATEST: Final = 2.5e11
"""Seconds; in the 99th century."""


class Own(StrEnum):
    """Kinds of events that the history adds to those that are announced."""

    FOUND = "GUEST_FOUND"
    """``name, phase, ready, wanted, adopted, pid``: how a new daemon has found a guest, once it knows."""
    LOST = "HISTORY_LOST"
    """``count, since``: so many events, from that time of the boot's clock on, could not be kept."""


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """One moment: ``wall`` in seconds since the epoch, ``now`` in seconds since the boot."""

    wall: float
    now: float

    def __post_init__(self) -> None:
        _check(self.wall, self.now)


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """The time that one daemon watched. ``id`` counts up and is 0 until the watch is kept."""

    id: int = 0
    boot: str
    version: str
    pid: int
    began: Moment
    seen: Moment
    """Its last sign of life: its end if that was orderly, else it may have lived up to an hour longer."""
    orderly: bool = False
    """It has said goodbye."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One event as it is kept; ``id`` is in the order in which things happened, whatever clocks say."""

    id: int
    watch: int
    wall: float
    now: float
    seq: int
    guest: str | None
    kind: str
    data: dict[str, Any]

    def __post_init__(self) -> None:
        _check(self.wall, self.now)


def _check(*times: float) -> None:
    if not all(0 <= time < LATEST for time in times):
        raise ValueError("a time that no clock shows")


class Asked(msgspec.Struct, frozen=True):
    """When something is asked, and by which daemon."""

    boot: str
    at: Moment
    watch: int
    """The watch that goes on; 0 if it is not kept."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest did over a period; all times in seconds. ``up``, ``down``, ``off``, ``unwatched`` make the period."""

    since: float
    """Wall time."""
    until: float
    """Wall time."""
    up: float
    """It was ready."""
    down: float
    """It was wanted running, and was not ready."""
    off: float
    """It was not wanted running."""
    unwatched: float
    """No daemon watched, or events of that time were lost."""
    availability: float | None
    """Per cent: ``up`` of the time that it was up or down."""
    runs: int
    failures: dict[str, int]
    """By cause: the ends of runs, and the starts, that a policy ``on-failure`` answers with a restart."""
    between_failures: float | None
    """The mean time between failures: how long it was up for each."""
    to_recover: float | None
    """The mean time from a failure, or the first of several in a row, until it was ready again."""
    longest_run: float | None
    to_ready: float | None
    """The median time from the beginning of a start until it was ready."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one guest's history."""

    figures: Figures | None
    """None if nothing is known of it."""
    events: tuple[Kept, ...]
    """The newest last."""
    more: bool
    """There are earlier events than these."""
    watches: dict[int, Watch]
    """Those in which the events happened, by their ids."""

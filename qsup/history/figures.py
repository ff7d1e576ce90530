"""From what is kept of a guest to figures: how long it was up, how often it failed, how soon it was back. Pure."""

from __future__ import annotations

from collections import Counter
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.cause import FAILURES, Cause
from qsup.events import Kind
from qsup.history.kept import Figures, Own
from qsup.history.standing import after
from qsup.history.timeline import Timeline
from qsup.phase import Phase, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qsup.history.kept import Asked, Kept, Watch
    from qsup.history.standing import Standing

UP: Final = "up"
DOWN: Final = "down"
OFF: Final = "off"
UNWATCHED: Final = "unwatched"

ENDS_RUN: Final = frozenset({Phase.STOPPED, Phase.BACKOFF, Phase.GAVE_UP, Phase.STARTING})
"""In these phases no earlier process is left."""


def figures(
    watches: Sequence[Watch], events: Iterable[Kept], asked: Asked, since: float | None = None
) -> Figures | None:
    """The figures of one guest until it is asked, from ``since`` (wall time) on or as far back as anything is known.

    ``events`` are the guest's of the kinds ``TELLING``, and those of kind ``LOST``, in their order, of no others than
    the ``watches``. None if nothing is known.
    """
    timeline = Timeline(watches)
    until = timeline.until(asked.boot, asked.at)
    life = _Life(until)
    by_watch: dict[int, list[Kept]] = {watch.id: [] for watch in watches}
    for event in events:
        by_watch[event.watch].append(event)
    for watch in watches:
        life.pass_to(timeline.began[watch.id])
        for event in by_watch[watch.id]:
            if event.kind == Own.LOST:
                life.lost(timeline.at(watch.id, _since(event)))
            life.happened(timeline.at(watch.id, event.now), event.kind, event.data)
        if watch.id != asked.watch:
            life.daemon_went(timeline.seen[watch.id])
    life.pass_to(until)
    if life.began is None:
        return None
    start = life.began if since is None else max(life.began, until - max(0.0, asked.at.wall - since))
    return _summary(life, start, until, asked.at.wall)


def _since(event: Kept) -> float:
    since = event.data.get("since")
    return since if isinstance(since, float) else event.now


class _Gap(msgspec.Struct, frozen=True):
    """A time without a daemon, as long as it is not known whether the guest lived through it."""

    began: float
    span: int
    """The index of its first span."""
    up: bool
    """Whether the guest was up before."""
    run: float | None
    """Since when its run went."""


class _Life:
    """The guest's life, told from its beginning; every time is one of the timeline, and none is after ``until``."""

    def __init__(self, until: float) -> None:
        self.began: float | None = None
        """When anything was first known of it."""
        self.spans: list[tuple[float, float, str]] = []
        self.failures: list[tuple[float, str]] = []
        self.repairs: list[tuple[float, float]] = []
        self.starts: list[tuple[float, float]] = []
        self._until = until
        self._time = float("-inf")
        self._standing: Standing | None = None
        self._gap: _Gap | None = None
        self._runs: list[tuple[float, float]] = []
        self._run: float | None = None
        self._start: float | None = None
        self._outage: float | None = None

    def pass_to(self, time: float) -> None:
        """Let time pass, in which the guest stands as it does."""
        time = min(max(time, self._time), self._until)
        if self.began is not None and time > self._time:
            self.spans.append((self._time, time, self._case()))
        self._time = time

    def _case(self) -> str:
        if self._standing is None:
            return UNWATCHED
        if self._standing.up:
            return UP
        return DOWN if self._standing.missed else OFF

    def daemon_went(self, time: float) -> None:
        """From now on nobody watches."""
        self.pass_to(time)
        if self._gap is None:
            up = self._standing is not None and self._standing.up
            self._gap = _Gap(self._time, len(self.spans), up, self._run)
        # What goes on over the gap, or over several of them, is no run of its own.
        self._run = None
        self._lose_sight()

    def lost(self, time: float) -> None:
        """From that time on events are missing."""
        self.pass_to(time)
        self._settle(lived=False)
        self._lose_sight()

    def _lose_sight(self) -> None:
        self._end_run()
        self._standing = self._start = self._outage = None

    def happened(self, time: float, kind: str, data: Mapping[str, Any]) -> None:
        """One event."""
        self.pass_to(time)
        was, self._standing = self._standing, after(self._standing, kind, data)
        if self._standing is not None and self.began is None:
            self.began = self._time
        if kind == Kind.ENDED:
            self._ended(data.get("cause"))
        elif kind == Kind.STATUS:
            self._status(data.get("cause"))
        elif kind == Own.FOUND:
            self._settle(lived=data.get("adopted") is True)
        if self._standing is not None and self._standing != was:
            self._stands(was, self._standing)

    def _stands(self, was: Standing | None, standing: Standing) -> None:
        if standing.phase in ENDS_RUN:
            self._end_run()
        if standing.phase == Phase.STARTING and (was is None or was.phase != standing.phase):
            self._start = self._time
        if standing.phase == Phase.RUNNING and self._run is None:
            self._run = self._time
        if standing.wanted != Wanted.RUNNING:
            self._outage = None
        if standing.up:
            self._ready()

    def _ready(self) -> None:
        if self._start is not None:
            self.starts.append((self._start, self._time))
        if self._outage is not None:
            self.repairs.append((self._outage, self._time))
        self._start = self._outage = None

    def _ended(self, cause: object) -> None:
        self._settle(lived=False)
        self._end_run()
        self._start = None
        if isinstance(cause, str) and cause in FAILURES:
            self.failures.append((self._time, cause))
            if self._outage is None:
                self._outage = self._time

    def _status(self, cause: object) -> None:
        """The cause of the last end has become known."""
        if isinstance(cause, str) and self.failures and self.failures[-1][1] == Cause.UNKNOWN:
            self.failures[-1] = self.failures[-1][0], cause

    def _end_run(self) -> None:
        if self._run is not None:
            self._runs.append((self._run, self._time))
        self._run = None

    def _settle(self, *, lived: bool) -> None:
        """It is known now whether the guest's process has lived through the last gap."""
        gap, self._gap = self._gap, None
        if gap is None:
            return
        if not lived:
            self._runs.extend(_run_until(gap))
            return
        if gap.run is not None:
            self._run = gap.run
        # Before and after the gap it was up, in one process: so it was in between, as nobody was there to pause it.
        if gap.up and self._standing is not None and self._standing.up:
            self.spans[gap.span :] = [(begin, end, UP) for begin, end, _ in self.spans[gap.span :]]

    def runs(self) -> list[tuple[float, float]]:
        """From when to when it has run, the present run included."""
        present = [] if self._run is None else [(self._run, self._time)]
        return [*self._runs, *(_run_until(self._gap) if self._gap else ()), *present]


def _run_until(gap: _Gap) -> list[tuple[float, float]]:
    """The run that is not known to have gone on after the gap's beginning, if there was one."""
    return [] if gap.run is None else [(gap.run, gap.began)]


def _summary(life: _Life, start: float, until: float, wall: float) -> Figures:
    lasted = dict.fromkeys((UP, DOWN, OFF, UNWATCHED), 0.0)
    for begin, end, case in life.spans:
        lasted[case] += max(0.0, min(end, until) - max(begin, start))
    wanted = lasted[UP] + lasted[DOWN]
    runs = [min(end, until) - max(begin, start) for begin, end in life.runs() if end >= start]
    failures = [cause for time, cause in life.failures if time >= start]
    repairs = [end - begin for begin, end in life.repairs if begin >= start]
    starts = [end - begin for begin, end in life.starts if begin >= start]
    return Figures(
        since=max(0.0, wall - (until - start)),
        until=wall,
        up=lasted[UP],
        down=lasted[DOWN],
        off=lasted[OFF],
        unwatched=lasted[UNWATCHED],
        availability=100 * lasted[UP] / wanted if wanted else None,
        runs=len(runs),
        failures=dict(Counter(failures).most_common()),
        between_failures=lasted[UP] / len(failures) if failures else None,
        to_recover=fmean(repairs) if repairs else None,
        longest_run=max(runs, default=None),
        to_ready=median(starts) if starts else None,
    )

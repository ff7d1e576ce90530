"""A guest's history as a person reads it: how it did, then what happened. Pure; whatever a guest wrote is escaped."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from qsup.clock import iso
from qsup.control.results import Text
from qsup.control.text import duration, printable, table
from qsup.control.told import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.history.kept import Account, Figures, Kept, Watch


def account(name: str, kept: Account, trouble: str | None) -> Text:
    """``qsup history``: the figures, then the events, the newest last."""
    parts = [_figures(printable(name), kept.figures)]
    if kept.events:
        parts.append(_events(kept))
    return Text(exit=0, text="\n".join(parts), errors=_warning(trouble))


def _warning(trouble: str | None) -> str:
    return f"what happens now cannot be kept: {printable(trouble)}" if trouble else ""


def _figures(name: str, figures: Figures | None) -> str:
    if figures is None:
        return f"{name}: nothing is known of it in this time\n"
    facts = [
        ("Period", f"since {iso(figures.since)}, {_span(figures.until - figures.since)}"),
        ("Up", _span(figures.up)),
        ("Down", _span(figures.down) if figures.down else ""),
        ("Not wanted", _span(figures.off) if figures.off else ""),
        (
            "Unwatched",
            f"{_span(figures.unwatched)}, with no daemon to see it" if figures.unwatched else "",
        ),
        ("Runs", _runs(figures)),
        ("Failures", _failures(figures)),
        ("Recovery", _each(figures.to_recover, "from a failure until it was ready again, on average")),
        ("Start", _each(figures.to_ready, "until it was ready, in the median")),
    ]
    block = "".join(f"  {key + ':':<12}{value}\n" for key, value in facts if value)
    return f"{name}: {_availability(figures)}\n{block}"


def _availability(figures: Figures) -> str:
    if figures.availability is None:
        return "never wanted running in this time, as far as is known"
    # Rounded down: what was down for a moment was not up for 100 %.
    percent = math.floor(figures.availability * 1000) / 1000
    return f"available {percent:g} % of the {_span(figures.up + figures.down)} in which it was wanted"


def _runs(figures: Figures) -> str:
    if figures.longest_run is None:
        return "none"
    return f"{figures.runs}, the longest for {_span(figures.longest_run)}"


def _failures(figures: Figures) -> str:
    if figures.between_failures is None:
        return "none"
    causes = ", ".join(f"{printable(cause)} {count}" for cause, count in figures.failures.items())
    count = sum(figures.failures.values())
    return f"{count} ({causes}), one in {_span(figures.between_failures)} of being up"


def _each(seconds: float | None, what: str) -> str:
    return "" if seconds is None else f"{_span(seconds)} {what}"


def _span(seconds: float) -> str:
    """A span of time, to the millisecond where it is short: what qsup mends by itself is."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)


def _events(kept: Account) -> str:
    rows = [(iso(wall), printable(kind), printable(what)) for wall, kind, what in _lines(kept)]
    cells = table(("WHEN", "EVENT", "WHAT"), rows)
    earlier = "(there are earlier ones: --lines)\n" if kept.more else ""
    return "".join("  ".join(line).rstrip() + "\n" for line in cells) + earlier


def _lines(kept: Account) -> Iterator[tuple[float, str, str]]:
    """The events, and between them when nobody watched."""
    yield _line(kept.events[0])
    for event, following in pairwise(kept.events):
        if event.watch != following.watch:
            yield from _pause(kept.watches[event.watch], kept.watches[following.watch])
        yield _line(following)


def _line(event: Kept) -> tuple[float, str, str]:
    return event.wall, event.kind, told(event.kind, event.data)


def _pause(before: Watch, after: Watch) -> Iterator[tuple[float, str, str]]:
    left = (
        "the daemon left" if before.orderly else "the last sign of the daemon, which did not leave in order"
    )
    yield before.seen.wall, "-", left
    yield after.began.wall, "-", f"a daemon came: qsup {after.version}, pid {after.pid}"

"""What the daemon announces, counted. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from qsup.events import Kind
from qsup.metrics.readings import Counters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.events import Event


class Counts:
    """Counts events; ``hear`` is for the bus."""

    def __init__(self) -> None:
        self._events: Counter[str] = Counter({kind.value: 0 for kind in Kind})
        self._ends: Counter[tuple[str, str]] = Counter()
        self._restarts: Counter[tuple[str, str]] = Counter()
        self._troubles: Counter[tuple[str, str]] = Counter()

    def hear(self, event: Event) -> None:
        """Count an event."""
        self._events[event.kind.value] += 1
        if event.guest is None:
            return
        match event.kind:
            case Kind.ENDED:
                self._ends[event.guest, event.data["cause"]] += 1
                if event.data["restart"]:
                    self._restarts[event.guest, event.data["cause"]] += 1
            case Kind.TROUBLE:
                self._troubles[event.guest, event.data["cause"]] += 1

    def counters(self, guests: Iterable[str]) -> Counters:
        """What was counted; of guests only these, and of others nothing is kept any more."""
        known = frozenset(guests)
        for counter in (self._ends, self._restarts, self._troubles):
            for key in [key for key in counter if key[0] not in known]:
                del counter[key]
        return Counters(dict(self._events), dict(self._ends), dict(self._restarts), dict(self._troubles))

"""One publisher, many subscribers, none of whom can slow the others down.

A subscriber that does not read loses its subscription, not the daemon its memory: the queue of each is bounded,
and a full one is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from qsup import clock
from qsup.events import Event, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

RECENT: Final = 2000
"""How many events are kept in memory for ``query-events``."""
BACKLOG: Final = 1000
"""How many events a subscriber may leave unread before it is dropped."""


class Overrun(Exception):
    """The subscriber left more than ``BACKLOG`` events unread and was dropped."""


class Subscription:
    """An asynchronous iterator over what is published while it is open; use it as a context manager."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def __enter__(self) -> Subscription:
        self._bus.subscribers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.subscribers.discard(self)

    def offer(self, event: Event) -> None:
        """Take an event, or close the subscription if too many wait already."""
        if self._queue.qsize() < BACKLOG:
            self._queue.put_nowait(event)
        else:
            self._bus.subscribers.discard(self)
            self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self._queue.get()
            if event is None:
                raise Overrun
            yield event


class Bus:
    """Publishes events and remembers the latest of them."""

    def __init__(self) -> None:
        self.subscribers: set[Subscription] = set()
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self.hooks: list[Callable[[Event], None]] = []
        """The daemon's own listeners: called at once, so that no burst of events can cut one off."""
        self._seq = 0

    def subscribe(self) -> Subscription:
        """A new subscription, not yet open."""
        return Subscription(self)

    def publish(self, kind: Kind, **data: Any) -> Event:
        """Announce an event to all subscribers, now."""
        self._seq += 1
        event = Event(self._seq, clock.wall(), kind, data)
        self.recent.append(event)
        for subscriber in tuple(self.subscribers):
            subscriber.offer(event)
        for hook in self.hooks:
            hook(event)
        return event

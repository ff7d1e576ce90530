"""One way of one alert, on which messages wait for each other and for nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from qsup.alerts.way import DeliveryFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.alerts.message import Message
    from qsup.alerts.way import Way

    Complaint = Callable[[Message, Way, str], None]

log = logging.getLogger(__name__)

WAITING: Final = 32
"""Messages that may wait on one lane; what comes on top is lost, and told so."""
PAUSES: Final = (1.0, 5.0, 20.0)
"""Seconds before each further try of what may go better then."""


class Lane:
    """Delivers in order, one message at a time. Of a receiver that fails it complains once, until it is well again."""

    def __init__(self, places: asyncio.Semaphore, complain: Complaint) -> None:
        self._places = places
        self._complain = complain
        self._queue: deque[tuple[Way, Message]] = deque()
        self._lost = 0
        self.task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many messages are not delivered yet."""
        return len(self._queue)

    def put(self, way: Way, message: Message) -> None:
        """Take a message, and return at once."""
        if len(self._queue) >= WAITING:
            self._lose(way, message, f"{WAITING} messages wait for it already")
            return
        self._queue.append((way, message))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._queue:
            await self._deliver(*self._queue[0])
            self._queue.popleft()

    async def _deliver(self, way: Way, message: Message) -> None:
        trouble = await self._try(way, message)
        for pause in PAUSES:
            if trouble is None or not trouble.again:
                break
            await asyncio.sleep(pause)
            trouble = await self._try(way, message)
        if trouble is not None:
            self._lose(way, message, str(trouble))
            return
        log.info("alert %s: %s %s was told: %s", message.alert, way.kind, way.to, message.subject)
        if self._lost:
            log.info("alert %s: %s works again; messages lost: %d", message.alert, way.kind, self._lost)
            self._lost = 0

    async def _try(self, way: Way, message: Message) -> DeliveryFailed | None:
        try:
            async with self._places:
                await way.send(message)
        except DeliveryFailed as error:
            return error
        except Exception as error:
            log.exception("alert %s: a bug in qsup: %s failed", message.alert, way.kind)
            return DeliveryFailed(f"a bug in qsup, see the daemon's log: {error!r}")
        return None

    def _lose(self, way: Way, message: Message, reason: str) -> None:
        self._lost += 1
        if self._lost == 1:
            self._complain(message, way, reason)

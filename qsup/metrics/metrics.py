"""The metrics of one daemon: counted always, which costs next to nothing, and served where ``[metrics]`` says so."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from qsup.errors import QsupError
from qsup.metrics.counts import Counts
from qsup.metrics.gather import Gatherer
from qsup.metrics.server import Server
from qsup.spec.tables.metrics import Metrics as Table

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from qsup.events import Event
    from qsup.histogram import Histogram
    from qsup.metrics.gather import Guests
    from qsup.metrics.http import Request
    from qsup.metrics.readings import Site

log = logging.getLogger(__name__)


class Metrics:
    """``hear`` is for the bus, ``apply`` says where they are served from then on, ``run`` is the task that does it."""

    def __init__(self, guests: Guests, lag: Histogram) -> None:
        self._guests = guests
        self._lag = lag
        self._counts = Counts()
        self._wanted = Table()
        self._changed = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Count an event."""
        self._counts.hear(event)

    def apply(self, wanted: Table) -> None:
        """Follow these settings; what could not be served before is tried again."""
        self._wanted = wanted
        self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            self._changed.clear()
            wanted = self._wanted
            if wanted.listen is None:
                await self._changed.wait()
            else:
                await self._serve(wanted)

    async def _serve(self, where: Table) -> None:
        """Serve at one place until another is wanted; if that cannot be, until there is a reason to try again."""
        with ThreadPoolExecutor(1, "metrics") as thread:
            service = _Service(Gatherer(self._guests, self._counts, self._lag, thread), thread)
            server = Server(where, service.answer)
            try:
                served = await _started(server, where)
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    if self._wanted != where or not served:
                        return
            finally:
                await server.close()
                await service.close()


async def _started(server: Server, where: Table) -> bool:
    """Whether it could be; if not, that is told, and no guest is any worse off."""
    try:
        await server.start()
    except QsupError as error:
        log.error("no metrics are served: %s; mend that, then `qsup reload`", error)
        return False
    log.info("metrics are served at %s", where.listen)
    return True


class _Service:
    """Answers those who ask; who asks while the figures are still fresh is told the same."""

    def __init__(self, gatherer: Gatherer, thread: Executor) -> None:
        self._gatherer = gatherer
        self._thread = thread
        self._told: dict[bool, tuple[Site, Future[tuple[str, bytes]]]] = {}

    async def answer(self, request: Request) -> tuple[str, bytes]:
        """The content type and the text."""
        site = await self._gatherer.site()
        told = self._told.get(request.open_metrics)
        if told is None or told[0] is not site:
            told = site, self._thread.submit(_exposition, site, open_metrics=request.open_metrics)
            self._told[request.open_metrics] = told
        return await asyncio.wrap_future(told[1])

    async def close(self) -> None:
        """Wait for nothing any more."""
        await self._gatherer.close()


def _exposition(site: Site, *, open_metrics: bool) -> tuple[str, bytes]:
    # Its import takes time, so it happens here, in a thread, and only where metrics are wanted.
    from qsup.metrics.expose import exposition

    return exposition(site, open_metrics=open_metrics)

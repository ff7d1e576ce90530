"""Everything that happened, kept: the daemon's memory, which outlives it, its host's power, and every guest."""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from qsup import __version__, clock
from qsup.errors import RecordError
from qsup.history import reading
from qsup.history.kept import Asked, Moment, Own, Watch
from qsup.history.rows import Row
from qsup.history.store import Store
from qsup.history.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qsup.events import Event
    from qsup.history.kept import Account
    from qsup.spec.tables.keeping import History as Keeping

FRESH: Final = 2.0
"""Seconds that a question waits for what has just happened to be on the disk."""


class History:
    """``run`` is its task; ``hear`` is for the bus, and never waits for anything.

    ``keeping`` says what is to be kept, or None as long as that is not known. ``survey`` has to call ``found`` for
    every guest; it is called when the history may not know any more how they stand.
    """

    def __init__(
        self, path: Path, boot: str, keeping: Callable[[], Keeping | None], survey: Callable[[], None]
    ) -> None:
        self._path = path
        self._survey = survey
        now = _now()
        watch = Watch(boot=boot, version=__version__, pid=os.getpid(), began=now, seen=now)
        self._store = Store(path, watch)
        self._writer = Writer(self._store, keeping, self._blank)
        self._reader = ThreadPoolExecutor(1, "history-reader")
        self._loop: asyncio.AbstractEventLoop

    async def run(self) -> None:
        """Keep what is heard until cancelled, and then the rest of it."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "history-writer") as thread, self._reader:
            writing = self._loop.run_in_executor(thread, self._writer.run)
            try:
                await asyncio.shield(writing)
            finally:
                self._writer.leave()
                await writing

    def hear(self, event: Event) -> None:
        """Keep an event."""
        self._keep(event.at, event.seq, event.guest, event.kind.value, event.data)

    def found(
        self, name: str, *, phase: str, ready: bool, wanted: str, adopted: bool, pid: int | None
    ) -> None:
        """Keep how a guest stands, without anything having happened to it."""
        data = {
            "name": name,
            "phase": phase,
            "ready": ready,
            "wanted": wanted,
            "adopted": adopted,
            "pid": pid,
        }
        self._keep(clock.wall(), 0, name, Own.FOUND.value, data)

    def _keep(self, wall: float, seq: int, guest: str | None, kind: str, data: dict[str, object]) -> None:
        self._writer.offer(Row(wall, clock.now(), seq, guest, kind, data))

    def _blank(self) -> None:
        """The writer, in its thread, cannot know any more how guests stand."""
        with contextlib.suppress(RuntimeError):  # The loop has ended: nobody is left to ask.
            self._loop.call_soon_threadsafe(self._survey)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be kept for now, as a sentence."""
        return self._writer.trouble

    async def of(self, guest: str, *, since: float | None, limit: int) -> Account:
        """What is kept of a guest from ``since`` (wall time) on: figures, and the newest ``limit`` events.

        Raises QsupError if the history cannot be read.
        """
        if self.trouble is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FRESH):
                    await asyncio.wrap_future(self._writer.flush())
        watch = self._store.watch
        # What cannot be kept is as good as unwatched.
        asked = Asked(watch.boot, _now(), watch.id if self.trouble is None else 0)
        read = partial(reading.read, self._path, guest, asked, since, limit)
        try:
            # One at a time: questions are not to take threads away from what guests need.
            return await self._loop.run_in_executor(self._reader, read)
        except RecordError:
            self._writer.doubt()
            raise


def _now() -> Moment:
    return Moment(clock.wall(), clock.now())

"""The one thread that writes the history. Everybody else leaves what is to be written at its door, and never waits.

It sleeps until there is something, and takes all that has come meanwhile at once: the more happens, the fewer times
the disk is waited for. What is wrong with the disk costs events at most, and that is told.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from qsup import clock
from qsup.errors import QsupError, RecordError
from qsup.history.kept import Moment, Own
from qsup.history.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.history.store import Store
    from qsup.spec.tables.keeping import History as Keeping

    Item = Row | Future[None] | None

log: Final = logging.getLogger(__name__)

WAITING: Final = 10_000
"""Events that may wait for the disk; further ones are lost, and counted."""
BATCH: Final = 500
"""Events that are written at once."""
MARK: Final = 3600.0
"""Seconds of silence after which it is noted that the daemon lives: after a power cut, no more than that is unknown."""
RETRY: Final = 5.0
"""Seconds until what could not be written is tried again."""
PRUNE: Final = 1000
"""Events after which it is looked for what is to be kept no longer."""


class Writer:
    """``run`` is the thread's life; all else is called from the event loop, and returns at once.

    ``keeping`` says what is to be kept, or None as long as that is not known; ``blank`` is called whenever the history
    may not know any more how guests stand. Both are called in the thread.
    """

    def __init__(
        self, store: Store, keeping: Callable[[], Keeping | None], blank: Callable[[], None]
    ) -> None:
        self.trouble: str | None = None
        """Why nothing can be written for now."""
        self._store = store
        self._keeping = keeping
        self._blank = blank
        self._queue: SimpleQueue[Item] = SimpleQueue()
        self._leaving = threading.Event()
        self._missing = 0
        self._missing_since = 0.0
        self._doubtful = False
        self._unproven = False
        self._unlooked = 0
        self._pruning = False
        self._done = False

    # The door

    def offer(self, row: Row) -> None:
        """Have an event written."""
        if self._queue.qsize() >= WAITING:
            self._miss(row)
            return
        if self._missing:
            self._tell_missing()
        self._queue.put(row)

    def _miss(self, row: Row) -> None:
        if not self._missing:
            log.error("%d events wait for the history to be written; what else happens is lost", WAITING)
            self._missing_since = row.now
        self._missing += 1

    def _tell_missing(self) -> None:
        log.error("the history lacks %d events, which had to wait too long for the disk", self._missing)
        loss = {"count": self._missing, "since": self._missing_since}
        self._queue.put(Row(clock.wall(), clock.now(), 0, None, Own.LOST.value, loss))
        self._missing = 0

    def flush(self) -> Future[None]:
        """Done when all that was offered until now has been written."""
        done: Future[None] = Future()
        self._queue.put(done)
        return done

    def doubt(self) -> None:
        """Somebody who reads the file finds it damaged: look for oneself."""
        self._doubtful = True
        self.flush()

    def leave(self) -> None:
        """Write everything, and then end."""
        if self._missing:
            self._tell_missing()
        self._queue.put(None)
        self._leaving.set()

    # The thread

    def run(self) -> None:
        """Write until all is written after ``leave``."""
        # Without anything to write at first, so that the beginning is kept of a daemon to which nothing happens.
        items: list[Item] = []
        while not self._done:
            try:
                self._work(items)
            except Exception:
                log.exception("a bug in qsup: %d events could not be written to the history", len(items))
            if not self._done:
                items = self._taken()
        self._store.close()

    def _taken(self) -> list[Item]:
        """All that waits, as soon as anything does; nothing after a long silence, or while there is more to tidy."""
        items: list[Item] = []
        try:
            items.append(self._queue.get(block=not self._pruning, timeout=MARK))
            while len(items) < BATCH:
                items.append(self._queue.get_nowait())
        except Empty:
            pass
        return items

    def _work(self, items: list[Item]) -> None:
        self._done = None in items
        new = [item for item in items if isinstance(item, Row)]
        if new or self._done or not (items or self._pruning):
            self._write(new)
        for item in items:
            if isinstance(item, Future) and item.set_running_or_notify_cancel():
                item.set_result(None)
        if self._doubtful:
            self._doubtful = False
            self._attempt(self._store.check)
        self._unlooked += len(new)
        if self._unlooked >= PRUNE or not items:
            self._unlooked = 0
            self._pruning = False
            self._attempt(self._prune)

    def _write(self, new: list[Row]) -> None:
        """Write, and try again until it has come about or there is no time left."""

        def add() -> None:
            self._store.add(new, Moment(clock.wall(), clock.now()), orderly=self._done)

        while not self._attempt(add):
            if self._leaving.wait(RETRY):
                if not self._attempt(add) and new:
                    log.error("%d events could not be written to the history and are lost", len(new))
                return

    def _prune(self) -> None:
        keeping = self._keeping()
        if keeping is not None:
            before = clock.wall() - keeping.keep
            self._pruning = self._store.prune(before=before, at_most=keeping.events)

    def _attempt(self, deed: Callable[[], None]) -> bool:
        """Do something with the file, with a new one if it is damaged; False if that is not possible for now."""
        try:
            try:
                deed()
            except RecordError as error:
                if self._unproven:
                    raise
                kept = self._store.set_aside()
                log.error("%s; it is kept as %s, and a new one begins", error, kept.name)
                # Where a new file is damaged at once as well, making still more of them is no help.
                self._unproven = True
                deed()
                self._blank()
        except (QsupError, OSError) as error:
            if self.trouble is None:
                log.error("%s; it is tried again, until then events wait", error)
            self.trouble = str(error)
            return False
        self._unproven = False
        if self.trouble is not None:
            log.warning("the history can be written again")
            self.trouble = None
            self._blank()
        return True

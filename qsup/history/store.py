"""The file of the history, as it is written: SQLite, with a write-ahead log, owned by one thread.

Once ``add`` has returned, its events are on the disk: they survive the end of this process and of the power. Whatever
goes wrong in here closes the file; the next call opens it anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.atomic import set_aside
from qsup.errors import RecordError
from qsup.history import rows, schema
from qsup.history.damage import translated
from qsup.history.standing import FORGOTTEN, TELLING, Standing, after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from qsup.history.kept import Kept, Moment, Watch
    from qsup.history.rows import Row

BUSY: Final = 5.0
"""Seconds that another process may keep the file locked."""
STEP: Final = 500
"""How many events are removed at once."""


class Store:
    """The history, for one daemon's watch. Raises RecordError if the file is damaged, else QsupError or OSError."""

    def __init__(self, path: Path, watch: Watch) -> None:
        self.watch = watch
        """As it is kept: its ``id`` is 0 before that."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)

    def add(self, new: Iterable[Row], seen: Moment, *, orderly: bool = False) -> None:
        """Keep events, and that the daemon was alive at ``seen``, and whether it leaves then."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO events (watch, wall, now, seq, guest, kind, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (self.watch.id, row.wall, row.now, row.seq, row.guest, row.kind, rows.encoded(row.data))
                    for row in new
                ],
            )
            connection.execute(
                "UPDATE watches SET seen_wall = ?, seen_now = ?, orderly = ? WHERE id = ?",
                (seen.wall, seen.now, orderly, self.watch.id),
            )

    def prune(self, *, before: float, at_most: int) -> bool:
        """Remove some of the oldest events: those from before a wall time, and what is too much of all others.

        Says whether there may be more to remove. Only the oldest go, so a clock that had jumped costs little.
        """
        with self._transaction() as connection:
            oldest = connection.execute(_OLDEST, (at_most, before, STEP))
            doomed = list(takewhile(itemgetter(-1), oldest))
            if doomed:
                _keep_standings(connection, [event for row in doomed if (event := rows.event(row[:-1]))])
                connection.execute("DELETE FROM events WHERE id <= ?", (doomed[-1][0],))
                connection.execute(_FORGET_WATCHES, (self.watch.id, self.watch.id))
            return len(doomed) == STEP

    def check(self) -> None:
        """Read all of the file; raise RecordError if it is damaged."""
        with self._transaction() as connection:
            ((verdict,),) = connection.execute("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise RecordError(f"the history {self._path} is damaged: {verdict}")

    def set_aside(self) -> Path:
        """Rename a file that cannot be used, with what belongs to it, so that a new one can begin; its new name."""
        self.close()
        kept = set_aside(self._path)
        # A log that was left alone would be taken for the new file's.
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self._path}{suffix}", f"{kept}{suffix}")
        return kept

    def close(self) -> None:
        """Close the file; whatever was not committed is gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it is on the disk when the block has ended, or nothing is."""
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            self._begin_watch(connection)
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            raise translated(self._path, error) from error
        except BaseException:
            self.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        # A file that somebody has removed or replaced would take all and show nothing.
        if self._connection is None or _file(self._path) != self._file:
            self.close()
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        _make(self._path)
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw", BUSY, isolation_level=None, uri=True
        )
        try:
            connection.text_factory = rows.text
            # As FULL where there is a write-ahead log; where the file system has none, more is needed.
            connection.execute("PRAGMA synchronous = EXTRA")
            # First of all, as a file that is somebody else's is not to be touched.
            schema.prepare(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
        except RecordError as error:
            connection.close()
            raise RecordError(f"the history {self._path} cannot be used: {error}") from error
        except BaseException:
            connection.close()
            raise
        self._file = _file(self._path)
        return connection

    def _begin_watch(self, connection: sqlite3.Connection) -> None:
        """Keep the watch itself, if this file does not have it yet."""
        watch = self.watch
        key = (watch.id, watch.boot, watch.began.now, watch.pid)
        same = "SELECT id FROM watches WHERE id = ? AND boot = ? AND began_now = ? AND pid = ?"
        if watch.id and connection.execute(same, key).fetchone():
            return
        added = connection.execute(
            "INSERT INTO watches (boot, version, pid, began_wall, began_now, seen_wall, seen_now, orderly)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            (watch.boot, watch.version, watch.pid, *_both(watch.began), *_both(watch.began)),
        )
        self.watch = msgspec.structs.replace(watch, id=added.lastrowid)


_OLDEST: Final = """
    SELECT id, watch, wall, now, seq, guest, kind, data, id <= (SELECT max(id) FROM events) - ? OR NOT wall >= ?
    FROM events ORDER BY id LIMIT ?
"""
"""The columns of ``rows.event``, and whether it goes."""
_FORGET_WATCHES: Final = """
    DELETE FROM watches WHERE id < coalesce((SELECT watch FROM events ORDER BY id LIMIT 1), ?)
    AND id < coalesce((SELECT min(watch) FROM standings), ?)
"""
"""Those before the first that anything is left of."""


def _keep_standings(connection: sqlite3.Connection, doomed: Iterable[Kept]) -> None:
    """Keep how guests stood, before the events go that tell it: a guest at rest has no others."""
    for event in doomed:
        found = connection.execute("SELECT data FROM standings WHERE guest = ?", (event.guest,)).fetchone()
        before = rows.standing(found[0]) if found else None
        standing = after(before, event.kind, event.data)
        if standing == FORGOTTEN:
            connection.execute("DELETE FROM standings WHERE guest = ?", (event.guest,))
        elif standing is not None and event.kind in TELLING:
            connection.execute(
                "INSERT OR REPLACE INTO standings (guest, event, watch, wall, now, data) VALUES (?, ?, ?, ?, ?, ?)",
                (event.guest, event.id, event.watch, event.wall, event.now, rows.encoded(_as_data(standing))),
            )


def _as_data(standing: Standing) -> Mapping[str, Any]:
    return {"phase": standing.phase, "ready": standing.ready, "wanted": standing.wanted}


def _both(moment: Moment) -> tuple[float, float]:
    return moment.wall, moment.now


def _make(path: Path) -> None:
    """Have a file there that is its owner's alone, and so are those that SQLite makes beside it.

    One that exists is not opened: to close it again would take away the locks that this process holds on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise RecordError(f"the history {path} cannot be used: it is no file")
    if mode & 0o077:
        os.chmod(path, 0o600)


def _file(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return found.st_dev, found.st_ino

"""The file of the history, as it is read: beside its writer, and never more than a bound."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from qsup.history import rows
from qsup.history.damage import translated
from qsup.history.figures import figures
from qsup.history.kept import Account, Asked, Own
from qsup.history.standing import TELLING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qsup.history.kept import Kept, Watch

FACTS: Final = 20_000
"""Of so many events at most are figures made: those of a guest that ends all the time reach less far back. So do those
of a daemon that does."""
ROOM: Final = 512 * 1024
"""Characters of data at most that an account holds, however many events are asked for."""
NOTHING: Final = Account(figures=None, events=(), more=False, watches={})


def read(path: Path, guest: str, asked: Asked, since: float | None, limit: int) -> Account:
    """What is kept of a guest, from ``since`` (wall time) on: figures, and ``limit`` events at most.

    Raises RecordError if the file is damaged, else QsupError.
    """
    if not path.exists():
        return NOTHING
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, isolation_level=None, uri=True)) as connection:
            connection.text_factory = rows.text
            # One moment of the file, while its writer goes on.
            connection.execute("BEGIN")
            return _account(connection, guest, asked, since, limit)
    except sqlite3.Error as error:
        raise translated(path, error) from error


def _account(
    connection: sqlite3.Connection, guest: str, asked: Asked, since: float | None, limit: int
) -> Account:
    facts = _facts(connection, guest)
    watches = _watches(connection, facts[0].watch) if facts else []
    known = {watch.id for watch in watches}
    shown, more = _shown(connection, guest, since, limit)
    seen = {watch.id: watch for watch in _watches(connection, shown[0].watch)} if shown else {}
    return Account(
        figures=figures(watches, [event for event in facts if event.watch in known], asked, since),
        events=tuple(event for event in shown if event.watch in seen),
        more=more,
        watches={event.watch: seen[event.watch] for event in shown if event.watch in seen},
    )


def _facts(connection: sqlite3.Connection, guest: str) -> list[Kept]:
    """What figures are made of, in its order: first how the guest stood before, if the beginning has been removed."""
    told = connection.execute(_TOLD, (guest, *TELLING, FACTS)).fetchall()
    if len(told) < FACTS:
        told += connection.execute(_STANDING, (Own.FOUND, guest)).fetchall()
    facts = _events(reversed(told))
    if facts:
        losses = _events(connection.execute(_LOST, (Own.LOST, facts[0].id, FACTS)))
        facts.extend(losses)
    return sorted(facts, key=lambda event: (event.watch, event.id))


def _watches(connection: sqlite3.Connection, first: int) -> list[Watch]:
    newest = "SELECT * FROM watches WHERE id >= ? ORDER BY id DESC LIMIT ?"
    found = connection.execute(newest, (first, FACTS)).fetchall()
    return [watch for row in reversed(found) if (watch := rows.watch(row))]


def _shown(
    connection: sqlite3.Connection, guest: str, since: float | None, limit: int
) -> tuple[list[Kept], bool]:
    """The newest events, and whether there are earlier ones."""
    found = connection.execute(_SHOWN, (guest, float("-inf") if since is None else since, limit + 1))
    shown: list[Any] = []
    room = ROOM
    for row in found:
        room -= len(str(row[-1]))
        if len(shown) == limit or room < 0:
            return _events(reversed(shown)), True
        shown.append(row)
    return _events(reversed(shown)), False


def _events(found: Iterable[tuple[Any, ...]]) -> list[Kept]:
    return [event for row in found if (event := rows.event(row))]


_TOLD: Final = "SELECT * FROM events WHERE guest = ? AND kind IN (?, ?, ?, ?, ?, ?) ORDER BY id DESC LIMIT ?"
_LOST: Final = "SELECT * FROM events WHERE guest IS NULL AND kind = ? AND id > ? ORDER BY id DESC LIMIT ?"
_STANDING: Final = "SELECT event, watch, wall, now, 0, guest, ?, data FROM standings WHERE guest = ?"
_SHOWN: Final = "SELECT * FROM events WHERE guest = ? AND wall >= ? ORDER BY id DESC LIMIT ?"

"""What the file of the history looks like inside, and how that of an earlier version becomes one of this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.errors import RecordError

if TYPE_CHECKING:
    import sqlite3

VERSION: Final = 1
APPLICATION: Final = 0x71737570
"""Marks a file of SQLite as qsup's: ``qsup`` in ASCII, as file(1) shows it."""

CREATION: Final = (
    """
    CREATE TABLE watches (
        id INTEGER PRIMARY KEY,
        boot TEXT NOT NULL,
        version TEXT NOT NULL,
        pid INTEGER NOT NULL,
        began_wall REAL NOT NULL,
        began_now REAL NOT NULL,
        seen_wall REAL NOT NULL,
        seen_now REAL NOT NULL,
        orderly INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        watch INTEGER NOT NULL,
        wall REAL NOT NULL,
        now REAL NOT NULL,
        seq INTEGER NOT NULL,
        guest TEXT,
        kind TEXT NOT NULL,
        data TEXT NOT NULL
    )
    """,
    "CREATE INDEX events_of_guest ON events (guest, id)",
    # How each guest stood when the last event that told it was removed: figures begin with that.
    """
    CREATE TABLE standings (
        guest TEXT PRIMARY KEY,
        event INTEGER NOT NULL,
        watch INTEGER NOT NULL,
        wall REAL NOT NULL,
        now REAL NOT NULL,
        data TEXT NOT NULL
    )
    """,
)

UPGRADES: Final[dict[int, tuple[str, ...]]] = {}
"""From each older version to the next: statements."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make an empty file one of the history, or one of an earlier version one of this; raise RecordError for others.

    Done at once or not at all, whenever the power goes.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(connection):
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(connection: sqlite3.Connection) -> list[str]:
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    marks = [f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}"]
    if (version, application, tables) == (0, 0, 0):
        return [*CREATION, *marks]
    if application != APPLICATION:
        raise RecordError("it is no history of qsup")
    if version > VERSION:
        raise RecordError(f"written by a newer qsup: version {version}, this one knows {VERSION}")
    steps = range(version, VERSION)
    if any(step not in UPGRADES for step in steps):
        raise RecordError(f"unknown version {version}")
    return [*(statement for step in steps for statement in UPGRADES[step]), *(marks if steps else ())]


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    ((value,),) = connection.execute(f"PRAGMA {name}")
    return int(value)

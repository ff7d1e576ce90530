"""What an error of SQLite means: that the file is damaged, or that it cannot be used for now."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from qsup.errors import QsupError, RecordError

if TYPE_CHECKING:
    from pathlib import Path

DAMAGE: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Codes for a file that is not what was written to it; among them those for wrong statements, as ours are right."""


def translated(path: Path, error: sqlite3.Error) -> QsupError:
    """RecordError for a damaged file, another QsupError for one that cannot be used for now."""
    # Extended codes have the primary one in their lowest byte.
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
        return RecordError(f"the history {path} is damaged: {error}")
    return QsupError(f"the history {path}: {error}")

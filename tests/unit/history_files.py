"""Histories on disk for tests: a store with its watch, rows, and what can be read back."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from qsup.history.kept import Asked, Moment, Watch
from qsup.history.reading import read
from qsup.history.rows import Row
from qsup.history.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.history.kept import Account

WALL = 1_700_000_000.0
"""The wall time at which the boot's clock showed 0."""


def moment(now: float) -> Moment:
    return Moment(WALL + now, now)


def watch(now: float = 0.0, pid: int = 1) -> Watch:
    return Watch(boot="b", version="0.1.0", pid=pid, began=moment(now), seen=moment(now))


def row(now: float, kind: str = "GUEST_NOTICE", guest: str | None = "web1", **data: Any) -> Row:
    return Row(WALL + now, now, int(now), guest, kind, data)


def phase(now: float, name: str, guest: str = "web1") -> Row:
    return row(now, "GUEST_PHASE", guest, phase=name, ready=name == "running", wanted="running")


def account(
    path: Path,
    guest: str = "web1",
    *,
    now: float = 1000.0,
    by: int = 1,
    since: float | None = None,
    limit: int = 10_000,
) -> Account:
    """What is told of a guest by the daemon that has this watch."""
    return read(path, guest, Asked("b", moment(now), by), since, limit)


def messages(path: Path, guest: str = "web1") -> list[Any]:
    return [event.data.get("message") for event in account(path, guest).events]


@contextlib.contextmanager
def opened(path: Path) -> Any:
    """The file as any program sees it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def filled(path: Path, count: int) -> None:
    """A history with so many notices, closed."""
    store = Store(path, watch())
    store.add([row(number, message=f"n{number}") for number in range(count)], moment(count))
    store.close()

"""The thread that writes the history: nobody waits for it, and a disk that fails costs nothing or is told of."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from qsup.errors import QsupError, RecordError
from qsup.history import store, writer
from qsup.history.store import Store
from qsup.history.writer import Writer
from qsup.spec.tables.keeping import History as Keeping
from qsup.units import Duration
from tests.unit.history_files import account, filled, messages, opened, row, watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from qsup.history.kept import Moment
    from qsup.history.rows import Row

DEADLINE = 20.0
FOR_EVER = Keeping(keep=Duration.parse("36500 d"))


class Obstructed(Store):
    """A store whose disk does what the test wants."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, watch())
        self.error: Exception | None = None
        self.batches: list[int] = []
        self.tried = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def add(self, new: Iterable[Row], seen: Moment, *, orderly: bool = False) -> None:
        rows = list(new)
        self.tried.set()
        assert self.free.wait(DEADLINE)
        if self.error is not None:
            raise self.error
        super().add(rows, seen, orderly=orderly)
        self.batches.append(len(rows))


class Desk:
    """A writer at work."""

    def __init__(self, path: Path) -> None:
        self.store = Obstructed(path)
        self.keeping: Keeping | None = FOR_EVER
        self.blanks = threading.Semaphore(0)
        self.writer = Writer(self.store, lambda: self.keeping, self.blanks.release)
        self.thread = threading.Thread(target=self.writer.run)

    def offer(self, *texts: str) -> None:
        for text in texts:
            self.writer.offer(row(1.0, message=text))

    def flush(self) -> None:
        self.writer.flush().result(DEADLINE)

    def leave(self) -> None:
        self.writer.leave()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def at_work(path: Path) -> Iterator[Desk]:
    """A writer that has begun."""
    desk = Desk(path)
    desk.thread.start()
    try:
        desk.flush()
        yield desk
    finally:
        desk.store.error = None
        desk.store.free.set()
        desk.leave()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.01)
    monkeypatch.setattr(store, "BUSY", 0.01)


def test_what_is_offered_is_written_in_its_order(path: Path) -> None:
    with at_work(path) as desk:
        desk.offer(*map(str, range(100)))
        desk.flush()
        assert messages(path) == list(map(str, range(100)))


def test_all_that_waits_is_written_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BATCH", 50)
    with at_work(path) as desk:
        desk.store.batches.clear()
        desk.store.tried.clear()
        desk.store.free.clear()
        desk.offer("first")
        assert desk.store.tried.wait(DEADLINE)
        desk.offer(*map(str, range(80)))
        desk.store.free.set()
        desk.flush()
        assert desk.store.batches == [1, 50, 30]


def test_the_beginning_and_the_end_of_a_daemon_to_which_nothing_happens_are_kept(path: Path) -> None:
    with at_work(path), opened(path) as connection:
        assert connection.execute("SELECT pid, orderly FROM watches").fetchall() == [(1, 0)]
    with opened(path) as connection:
        assert connection.execute("SELECT pid, orderly FROM watches").fetchall() == [(1, 1)]


def test_after_a_long_silence_it_is_noted_that_the_daemon_lives(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MARK", 0.01)
    with at_work(path) as desk:
        for _ in range(2):
            desk.store.tried.clear()
            assert desk.store.tried.wait(DEADLINE)


def test_what_is_left_when_the_daemon_leaves_is_written(path: Path) -> None:
    desk = Desk(path)
    desk.offer(*map(str, range(2000)))
    desk.thread.start()
    desk.leave()
    assert messages(path) == list(map(str, range(2000)))


def test_a_disk_that_fails_is_told_of_once_and_tried_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with at_work(path) as desk:
        desk.store.error = QsupError("the disk is full")
        desk.offer("a")
        for _ in range(3):
            desk.store.tried.clear()
            assert desk.store.tried.wait(DEADLINE)
        assert desk.writer.trouble == "the disk is full"
        desk.offer("b")
        desk.store.error = OSError(5, "Input/output error")
        desk.store.tried.clear()
        assert desk.store.tried.wait(DEADLINE)
        desk.store.error = None
        desk.flush()
        assert desk.writer.trouble is None
        assert desk.blanks.acquire(timeout=DEADLINE)
        assert messages(path) == ["a", "b"]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [
        "the disk is full; it is tried again, until then events wait",
        "the history can be written again",
    ]


def test_what_has_to_wait_too_long_is_lost_counted_and_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "WAITING", 3)
    with at_work(path) as desk:
        desk.store.free.clear()
        desk.store.tried.clear()
        desk.offer("in hand")
        assert desk.store.tried.wait(DEADLINE)
        desk.offer("a", "b", "c", "lost", "lost", "lost")
        desk.store.free.set()
        desk.flush()
        desk.offer("d")
        desk.flush()
        assert messages(path) == ["in hand", "a", "b", "c", "d"]
        with opened(path) as connection:
            found = connection.execute(
                "SELECT id, guest, data FROM events WHERE kind = 'HISTORY_LOST'"
            ).fetchall()
        assert found == [(5, None, '{"count":3,"since":1.0}')]
    assert "3 events wait for the history to be written; what else happens is lost" in caplog.text
    assert "the history lacks 3 events" in caplog.text


def test_a_loss_is_kept_although_nothing_else_happens_before_the_daemon_leaves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITING", 1)
    desk = Desk(path)
    desk.offer("a", "lost")
    desk.thread.start()
    desk.leave()
    with opened(path) as connection:
        kinds = connection.execute("SELECT kind FROM events ORDER BY id").fetchall()
    assert kinds == [("GUEST_NOTICE",), ("HISTORY_LOST",)]


def test_a_daemon_can_leave_although_the_disk_fails(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with at_work(path) as desk:
        desk.store.error = QsupError("the disk is full")
        desk.offer("a", "b")
        desk.leave()
    assert "events could not be written to the history and are lost" in caplog.text


def test_a_damaged_file_is_set_aside_and_told_and_nothing_is_lost(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"garbage" * 1000)
    with at_work(path) as desk:
        desk.offer("a")
        desk.flush()
        assert messages(path) == ["a"]
        assert desk.blanks.acquire(timeout=DEADLINE)
    assert path.with_name("history.db.unreadable-1").read_bytes() == b"garbage" * 1000
    assert "it is kept as history.db.unreadable-1, and a new one begins" in caplog.text


def test_damage_that_only_a_reader_meets_is_looked_for(path: Path) -> None:
    filled(path, 3000)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 4096)
    with at_work(path) as desk:
        with pytest.raises(RecordError):
            account(path)
        desk.writer.doubt()
        assert desk.blanks.acquire(timeout=DEADLINE)
        desk.flush()
        assert messages(path) == []
        assert path.with_name("history.db.unreadable-1").exists()


def test_a_doubt_without_a_reason_changes_nothing(path: Path) -> None:
    with at_work(path) as desk:
        desk.offer("a")
        desk.writer.doubt()
        desk.flush()
        assert messages(path) == ["a"]
    assert [file.name for file in path.parent.iterdir()] == ["history.db"]


def test_where_a_new_file_is_damaged_as_well_no_more_are_made(path: Path) -> None:
    with at_work(path) as desk:
        desk.store.error = RecordError("it is no history")
        desk.offer("a")
        for _ in range(5):
            desk.store.tried.clear()
            assert desk.store.tried.wait(DEADLINE)
        assert desk.writer.trouble == "it is no history"
        assert [file.name for file in path.parent.iterdir() if "unreadable" in file.name] == [
            "history.db.unreadable-1"
        ]
        desk.store.error = None
        desk.flush()
        assert messages(path) == ["a"]


def test_a_bug_costs_what_was_in_hand_and_no_more(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with at_work(path) as desk:
        desk.store.error = TypeError("a bug")
        desk.store.tried.clear()
        desk.offer("a")
        assert desk.store.tried.wait(DEADLINE)
        desk.store.error = None
        desk.offer("b")
        desk.flush()
        assert messages(path)[-1] == "b"
    assert "a bug in qsup: 1 events could not be written" in caplog.text


def test_what_need_not_be_kept_is_removed_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PRUNE", 10)
    monkeypatch.setattr(store, "STEP", 4)
    filled(path, 50)
    desk = Desk(path)
    desk.keeping = Keeping(keep=FOR_EVER.keep, events=20)
    desk.thread.start()
    desk.flush()
    while (left := messages(path)) != [f"n{number}" for number in range(30, 50)]:
        assert left[-1] == "n49"
        desk.flush()
    desk.offer(*map(str, range(10)))
    desk.flush()
    while len(messages(path)) > 20:
        desk.flush()
    desk.leave()


def test_nothing_is_removed_while_it_is_not_known_what_to_keep(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PRUNE", 1)
    filled(path, 50)
    desk = Desk(path)
    desk.keeping = None
    desk.thread.start()
    desk.offer("a")
    desk.leave()
    assert len(messages(path)) == 51

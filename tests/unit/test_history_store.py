"""The file of the history: what is written comes back, what is damaged is told, what is old goes."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from qsup.errors import QsupError, RecordError
from qsup.history import reading, rows, schema, store
from qsup.history.kept import Moment
from qsup.history.store import Store
from tests.unit.history_files import WALL, account, filled, messages, moment, opened, phase, row, watch

KEPT = Path(__file__).parent / "records"
"""Records as earlier versions of qsup wrote them."""
MARK = f"PRAGMA application_id = {schema.APPLICATION}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def test_events_come_back_as_they_were_written_the_newest_last(path: Path) -> None:
    kept = Store(path, watch(1))
    kept.add([row(2, message="a"), row(3, "GUEST_STRANGE", any={"thing": [1, None, 2.5]})], moment(3))
    kept.add([row(4, guest="web2"), row(5, guest=None)], moment(5))
    told = account(path)
    assert [
        (event.wall, event.now, event.seq, event.guest, event.kind, event.data) for event in told.events
    ] == [
        (WALL + 2, 2, 2, "web1", "GUEST_NOTICE", {"message": "a"}),
        (WALL + 3, 3, 3, "web1", "GUEST_STRANGE", {"any": {"thing": [1, None, 2.5]}}),
    ]
    assert not told.more
    (of,) = told.watches.values()
    assert (of.boot, of.began, of.seen, of.orderly) == ("b", moment(1), moment(5), False)
    kept.add([], moment(9), orderly=True)
    assert next(iter(account(path).watches.values())).orderly
    kept.close()


def test_the_file_and_those_beside_it_are_their_owners_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        path.touch(mode=0o644)
        kept = Store(path, watch())
        kept.add([row(1)], moment(1))
    finally:
        os.umask(old)
    assert {file.name for file in path.parent.iterdir()} == {"history.db", "history.db-wal", "history.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    kept.close()
    assert [file.name for file in path.parent.iterdir()] == ["history.db"]


def test_what_is_committed_is_synced_to_the_disk(path: Path) -> None:
    kept = Store(path, watch())
    kept.add([], moment(0))
    assert kept._connection is not None
    pragmas = [
        kept._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]
    assert pragmas == ["wal", 3]
    kept.close()


def test_each_daemon_has_a_watch_of_its_own(path: Path) -> None:
    for number in (1, 2):
        kept = Store(path, watch(10 * number, pid=number))
        kept.add([row(10 * number + 1)], moment(10 * number + 1))
        kept.close()
        kept.add([row(10 * number + 2)], moment(10 * number + 2))
        kept.close()
    told = account(path)
    assert [event.watch for event in told.events] == [1, 1, 2, 2]
    assert [of.pid for of in told.watches.values()] == [1, 2]


def test_only_so_many_events_are_told_and_only_of_the_period(path: Path) -> None:
    filled(path, 10)
    told = account(path, limit=3)
    assert ([event.now for event in told.events], told.more) == ([7, 8, 9], True)
    assert (account(path, limit=0).events, account(path, limit=0).more) == ((), True)
    assert (len(account(path, limit=10).events), account(path, limit=10).more) == (10, False)
    told = account(path, since=WALL + 8)
    assert ([event.now for event in told.events], told.more) == ([8, 9], False)


def test_an_answer_is_bounded_in_its_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROOM", 10_000)
    kept = Store(path, watch())
    kept.add([row(number, message="x" * 3000) for number in range(10)], moment(10))
    told = account(path)
    assert ([event.now for event in told.events], told.more) == ([7, 8, 9], True)
    kept.close()


def test_figures_reach_only_so_many_events_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Store(path, watch())
    kept.add([phase(number, ("running", "paused")[number % 2]) for number in range(100)], moment(100))
    monkeypatch.setattr(reading, "FACTS", 10)
    figures = account(path, now=100).figures
    assert figures is not None
    assert (figures.since, figures.up, figures.down) == (WALL + 90, 5, 5)
    kept.close()


def test_no_file_is_an_empty_history(path: Path) -> None:
    assert account(path) == reading.NOTHING


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"a": "\udc80"}, {"a": "?"}),
        ({"path": Path("/x"), "n": float("nan")}, {"path": "/x", "n": None}),
        ({"name": "web1", "big": "x" * rows.LIMIT}, {"name": "web1", "left-out": 1}),
        ({str(number): "y" * 1000 for number in range(100)}, {"left-out": 100}),
        ({"a": "\0\n\x1b"}, {"a": "\0\n\x1b"}),
    ],
)
def test_whatever_an_event_holds_can_be_kept(data: dict[str, Any], told: dict[str, Any], path: Path) -> None:
    kept = Store(path, watch())
    kept.add([row(1, **data)], moment(1))
    assert account(path).events[0].data == told
    kept.close()


@pytest.mark.parametrize(
    "content",
    [
        b"garbage" * 1000,
        b"SQLite format 3\0" + bytes(5000),
        "CREATE TABLE other (a)",
        "PRAGMA user_version = 7",
        f"{MARK}; PRAGMA user_version = {schema.VERSION + 1}",
        f"{MARK}; CREATE TABLE events (a)",
    ],
)
def test_a_file_that_is_no_history_is_set_aside_and_a_new_one_begins(
    content: bytes | str, path: Path
) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with opened(path) as connection:
            connection.executescript(content)
    before = path.read_bytes()
    kept = Store(path, watch())
    with pytest.raises(RecordError, match=r"the history .*history\.db"):
        kept.add([row(1)], moment(1))
    assert kept.set_aside().name == "history.db.unreadable-1"
    assert (path.parent / "history.db.unreadable-1").read_bytes() == before
    kept.add([row(2, message="new")], moment(2))
    kept.close()
    assert messages(path) == ["new"]


def test_a_file_with_other_tables_than_it_claims_to_have_is_damaged(path: Path) -> None:
    with opened(path) as connection:
        connection.executescript(f"{MARK}; PRAGMA user_version = {schema.VERSION}; CREATE TABLE events (a)")
    kept = Store(path, watch())
    with pytest.raises(RecordError, match="damaged: no such table"):
        kept.add([row(1)], moment(1))
    kept.close()


def test_what_is_no_file_is_set_aside_as_it_is(path: Path) -> None:
    path.mkdir(mode=0o755)
    kept = Store(path, watch())
    with pytest.raises(RecordError, match="it is no file"):
        kept.add([row(1)], moment(1))
    assert stat.S_IMODE(kept.set_aside().stat().st_mode) == 0o755


def test_a_file_of_which_the_end_is_missing_is_damaged(path: Path) -> None:
    filled(path, 2000)
    os.truncate(path, path.stat().st_size // 2)
    kept = Store(path, watch())
    with pytest.raises(RecordError):
        kept.check()
    with pytest.raises(RecordError):
        account(path)
    kept.set_aside()
    kept.check()
    kept.close()


def test_the_log_of_a_file_that_is_set_aside_goes_with_it(path: Path) -> None:
    kept = Store(path, watch())
    kept.add([row(1, message="old")], moment(1))
    other = sqlite3.connect(path)
    other.execute("SELECT count(*) FROM events")
    aside = kept.set_aside()
    other.close()
    assert not Path(f"{path}-wal").exists()
    assert messages(aside) == ["old"]
    kept.add([row(2, message="new")], moment(2))
    assert messages(path) == ["new"]
    kept.close()


def test_a_bit_that_has_flipped_in_one_event_costs_no_other(path: Path) -> None:
    filled(path, 5)
    with opened(path) as connection:
        connection.execute("UPDATE events SET data = '{\"message\": ' WHERE id = 1")
        connection.execute("UPDATE events SET data = CAST(x'ff' AS TEXT) WHERE id = 2")
        connection.execute("UPDATE events SET wall = 'soon' WHERE id = 3")
        connection.execute("UPDATE events SET now = 9e999 WHERE id = 4")
    told = account(path)
    assert [event.data for event in told.events] == [
        {"unreadable": '{"message": '},
        {"unreadable": "�"},
        {"message": "n4"},
    ]
    with opened(path) as connection:
        connection.execute("UPDATE watches SET boot = x'ff', began_now = 'then'")
    assert account(path).events == ()
    kept = Store(path, watch())
    assert not kept.prune(before=WALL + 1000, at_most=1000)
    assert messages(path) == []
    kept.close()


def test_a_file_that_somebody_removes_is_made_anew(path: Path) -> None:
    kept = Store(path, watch())
    kept.add([row(1, message="lost")], moment(1))
    path.unlink()
    kept.add([row(2, message="kept")], moment(2))
    kept.close()
    assert messages(path) == ["kept"]


def test_a_directory_that_has_gone_is_trouble_and_no_damage(path: Path) -> None:
    kept = Store(path / "nowhere" / "history.db", watch())
    with pytest.raises(OSError):
        kept.add([row(1)], moment(1))


def test_a_file_that_another_process_holds_is_trouble_and_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 1)
    monkeypatch.setattr(store, "BUSY", 0.01)
    kept = Store(path, watch())
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(QsupError, match="locked") as caught:
            kept.add([row(1)], moment(1))
    assert not isinstance(caught.value, RecordError)
    kept.add([row(1, message="later")], moment(1))
    kept.close()
    assert messages(path) == ["n0", "later"]


def test_a_full_disk_is_trouble_and_no_damage_and_nothing_is_half_written(path: Path) -> None:
    kept = Store(path, watch())
    kept.add([row(1, message="a")], moment(1))
    assert kept._connection is not None
    ((pages,),) = kept._connection.execute("PRAGMA page_count")
    kept._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(QsupError, match="full") as caught:
        kept.add([row(number, message="x" * 1000) for number in range(100)], moment(2))
    assert not isinstance(caught.value, RecordError)
    assert messages(path) == ["a"]
    kept.add([row(3, message="b")], moment(3))
    kept.close()
    assert messages(path) == ["a", "b"]


def test_what_is_too_old_goes_in_small_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "STEP", 10)
    filled(path, 25)
    kept = Store(path, watch())
    assert kept.prune(before=WALL + 15, at_most=1000)
    assert messages(path)[0] == "n10"
    assert not kept.prune(before=WALL + 15, at_most=1000)
    assert messages(path) == [f"n{number}" for number in range(15, 25)]
    assert not kept.prune(before=WALL + 15, at_most=1000)
    kept.close()


def test_what_is_too_much_goes_and_what_comes_later_keeps_its_place(path: Path) -> None:
    filled(path, 25)
    kept = Store(path, watch())
    kept.prune(before=0.0, at_most=7)
    assert messages(path) == [f"n{number}" for number in range(18, 25)]
    kept.prune(before=WALL + 1000, at_most=7)
    assert messages(path) == []
    kept.add([row(30, message="next")], moment(30))
    assert messages(path) == ["next"]
    kept.close()


def test_only_the_oldest_go_however_the_clock_had_jumped(path: Path) -> None:
    kept = Store(path, watch())
    early = row(3, message="of 1970")
    kept.add([row(1, message="a"), rows.Row(5.0, 2.0, 2, "web1", early.kind, early.data)], moment(3))
    kept.prune(before=WALL, at_most=1000)
    assert messages(path) == ["a", "of 1970"]
    kept.close()


def test_a_guest_at_rest_is_known_after_all_of_its_events_have_gone(path: Path) -> None:
    kept = Store(path, watch())
    kept.add([phase(10, "starting"), phase(11, "running"), phase(12, "running", "gone")], moment(12))
    kept.add([row(13, "GUEST_SPEC", "gone", change="forgotten")], moment(13))
    kept.add([row(500 + number, guest="busy") for number in range(50)], moment(600))
    assert account(path, now=1000).figures is not None
    kept.prune(before=WALL + 400, at_most=1000)
    told = account(path, now=1000)
    assert told.events == ()
    assert told.figures is not None
    assert (told.figures.since, told.figures.up, told.figures.down) == (WALL + 11, 989, 0)
    assert account(path, "gone").figures is None
    kept.add([row(700, "GUEST_ENDED", cause="qemu-signal"), phase(700, "backoff")], moment(700))
    told = account(path, now=1000)
    assert told.figures is not None
    assert (told.figures.up, told.figures.down, told.figures.runs) == (689, 300, 1)
    kept.close()


def test_how_a_guest_stood_is_of_the_last_daemon_that_found_it(path: Path) -> None:
    for start in (0, 100):
        kept = Store(path, watch(start))
        found = row(
            start + 1, "GUEST_FOUND", phase="running", ready=True, wanted="running", adopted=start > 0
        )
        kept.add([found], moment(start + 50))
        kept.close()
    kept = Store(path, watch(200))
    kept.add([row(201, guest="busy")], moment(201))
    kept.prune(before=WALL + 200, at_most=1000)
    figures = account(path, now=1000, by=3).figures
    assert figures is not None
    assert (figures.since, figures.up, figures.unwatched) == (WALL + 101, 49, 850)
    with opened(path) as connection:
        assert connection.execute("SELECT id FROM watches").fetchall() == [(2,), (3,)], (
            "the first means nothing now"
        )
    kept.close()


def test_watches_of_which_nothing_is_left_go_as_well(path: Path) -> None:
    for number in range(5):
        kept = Store(path, watch(number, pid=number))
        kept.add([row(number, guest=None)], moment(number))
        kept.close()
    kept.prune(before=WALL + 100, at_most=1000)
    kept.close()
    with opened(path) as connection:
        assert connection.execute("SELECT pid FROM watches").fetchall() == [(4,)]


def test_a_history_of_version_1_is_read_as_it_was(path: Path) -> None:
    with opened(path) as connection:
        connection.executescript((KEPT / "history-1.sql").read_text())
    kept = Store(path, watch(2000, pid=9))
    kept.add([], moment(2000))
    told = account(path, now=100)
    assert [event.kind for event in told.events] == [
        "GUEST_PHASE",
        "GUEST_PHASE",
        "GUEST_ENDED",
        "GUEST_PHASE",
    ]
    assert told.figures is not None
    assert (told.figures.failures, told.figures.runs, told.figures.up) == ({"qemu-signal": 1}, 1, 58)
    old = next(iter(told.watches.values()))
    assert (old.boot, old.version, old.pid, old.began, old.orderly) == (
        "b",
        "0.1.0",
        17,
        Moment(WALL, 0.0),
        True,
    )
    kept.close()


def test_a_file_of_an_earlier_version_is_upgraded_at_once_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as connection:
        connection.executescript((KEPT / "history-1.sql").read_text())
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(
        schema, "UPGRADES", {1: ("ALTER TABLE watches ADD COLUMN host TEXT",), 2: ("nonsense",)}
    )
    kept = Store(path, watch(2000))
    with pytest.raises(RecordError, match="nonsense"):
        kept.add([], moment(2000))
    with opened(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.setitem(schema.UPGRADES, 2, ("UPDATE watches SET host = 'here'",))
    kept.add([], moment(2000))
    kept.close()
    with opened(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("SELECT host FROM watches").fetchall() == [("here",), (None,)]
    monkeypatch.setattr(schema, "UPGRADES", {})
    monkeypatch.setattr(schema, "VERSION", 4)
    with pytest.raises(RecordError, match="unknown version 3"):
        kept.add([], moment(2000))

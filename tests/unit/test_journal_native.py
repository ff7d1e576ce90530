"""The journal's native protocol, towards a journal that checks what it gets."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.journal import native
from qsup.journal.log import JournalHandler
from qsup.journal.messages import BUG
from qsup.journal.native import Journal, encode, is_journal
from tests.fakes.fake_journal import FakeJournal, decode


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeJournal]:
    made = FakeJournal(tmp_path / "socket")
    yield made
    made.close()


@pytest.fixture
def journal(fake: FakeJournal) -> Iterator[Journal]:
    made = Journal(str(fake.path))
    yield made
    made.close()


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,63}", fullmatch=True), st.text(max_size=200)))
def test_whatever_a_value_holds_the_fields_are_those_that_were_meant(fields: dict[str, str]) -> None:
    readable = {name: value.encode(errors="ignore").decode() for name, value in fields.items()}
    assert decode(encode(readable)) == readable


def test_a_guests_words_cannot_become_another_field() -> None:
    forged = "all is well\nPRIORITY=0\nQSUP_GUEST=other\n"
    assert decode(encode({"MESSAGE": forged, "QSUP_GUEST": "web1"})) == {
        "MESSAGE": forged,
        "QSUP_GUEST": "web1",
    }


def test_bytes_that_are_no_utf8_arrive_as_they_are() -> None:
    assert encode({"MESSAGE": b"\xff\xfe".decode(errors="surrogateescape")}) == b"MESSAGE=\xff\xfe\n"


def test_an_entry_arrives(fake: FakeJournal, journal: Journal) -> None:
    journal.send({"MESSAGE": "hello", "PRIORITY": "6"})
    assert fake.entries() == [{"MESSAGE": "hello", "PRIORITY": "6"}]
    assert fake.files == 0


def test_an_entry_too_large_for_a_datagram_comes_as_a_sealed_file(
    fake: FakeJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a host lets its users' sockets hold, where nobody has the right to more.
    monkeypatch.setattr(native, "BUFFER", 8192)
    small = Journal(str(fake.path))
    text = "a line\n" * 30_000
    small.send({"MESSAGE": text, "PRIORITY": "6"})
    assert fake.entries() == [{"MESSAGE": text, "PRIORITY": "6"}]
    assert fake.files == 1
    small.close()


def test_a_value_is_cut_where_it_becomes_unreasonable(fake: FakeJournal, journal: Journal) -> None:
    journal.send({"MESSAGE": "x" * (native.VALUE + 1)})
    (entry,) = fake.entries()
    assert len(entry["MESSAGE"].encode()) == native.VALUE
    assert entry["MESSAGE"].endswith("… (cut)")


async def test_what_a_full_journal_does_not_take_is_sent_when_it_does_and_in_order(
    fake: FakeJournal, journal: Journal
) -> None:
    journal.attach(asyncio.get_running_loop())
    count = 1500
    for number in range(count):
        journal.send({"MESSAGE": str(number)})
    found = fake.entries()
    assert len(found) < count
    while len(found) < count:
        found += await fake.arrived()
    assert [entry["MESSAGE"] for entry in found] == [str(number) for number in range(count)]


def test_what_is_lost_in_the_end_is_told(
    fake: FakeJournal, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "WAITING", 3)
    for number in range(1000):
        journal.send({"MESSAGE": str(number)})
    taken = len(fake.entries())
    journal.send({"MESSAGE": "after"})
    found = [entry["MESSAGE"] for entry in fake.entries()]
    lost = 1000 - taken - 3
    assert found == [
        *(str(taken + number) for number in range(3)),
        f"the journal took nothing for a while: {lost} entries of this daemon's were lost",
        "after",
    ]


def test_what_waits_has_a_last_moment_when_the_daemon_leaves(fake: FakeJournal) -> None:
    journal = Journal(str(fake.path))
    for number in range(1000):
        journal.send({"MESSAGE": str(number)})
    first = fake.entries()
    rest: list[dict[str, str]] = []

    def read() -> None:
        while len(first) + len(rest) < 1000:
            rest.extend(fake.entries())

    reader = threading.Thread(target=read)
    reader.start()
    journal.close()
    reader.join(10)
    assert [entry["MESSAGE"] for entry in first + rest] == [str(number) for number in range(1000)]


def test_a_journal_that_was_started_anew_is_found_again(tmp_path: Path) -> None:
    first = FakeJournal(tmp_path / "socket")
    journal = Journal(str(first.path))
    journal.send({"MESSAGE": "one"})
    first.close()
    with pytest.raises(OSError, match="No such file"):
        journal.send({"MESSAGE": "nobody hears this"})
    second = FakeJournal(tmp_path / "socket")
    journal.send({"MESSAGE": "two"})
    assert second.entries() == [{"MESSAGE": "two"}]
    second.close()
    journal.close()


async def test_a_journal_that_goes_while_entries_wait_costs_no_time(tmp_path: Path) -> None:
    fake = FakeJournal(tmp_path / "socket")
    journal = Journal(str(fake.path))
    loop = asyncio.get_running_loop()
    journal.attach(loop)
    for number in range(1000):
        journal.send({"MESSAGE": str(number)})
    fake.close()
    # Its socket is writable now, and stays so: nobody may wait for that any more.
    for _ in range(10):
        await asyncio.sleep(0)
    writers = [key.data[1] for key in loop._selector.get_map().values()]  # type: ignore[attr-defined]
    assert not any(writers)
    journal.close()


def test_stderr_is_the_journal_only_if_it_is_the_very_file(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": "nonsense"})
        assert not is_journal(file.fileno(), {})
    assert not is_journal(999_999, {"JOURNAL_STREAM": "1:1"})


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def record(level: int = logging.WARNING, **more: object) -> logging.LogRecord:
    log = logging.getLogger("qsup.thing")
    made = log.makeRecord(log.name, level, "/x/thing.py", 7, "%s is %s", ("it", "so"), None, "do")
    made.__dict__.update(more)
    return made


def test_a_record_has_the_customary_fields(fake: FakeJournal, journal: Journal) -> None:
    handler = JournalHandler(journal, Kept())
    handler.handle(record(fields={"QSUP_GUEST": "web1", "MESSAGE_ID": "0" * 32}))
    (entry,) = fake.entries()
    assert entry == {
        "MESSAGE": "it is so",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "qsupd",
        "CODE_FILE": "/x/thing.py",
        "CODE_LINE": "7",
        "CODE_FUNC": "do",
        "LOGGER": "qsup.thing",
        "THREAD_NAME": "MainThread",
        "QSUP_GUEST": "web1",
        "MESSAGE_ID": "0" * 32,
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, "2"),
        (logging.ERROR, "3"),
        (logging.WARNING, "4"),
        (logging.INFO, "6"),
        (logging.DEBUG, "7"),
    ],
)
def test_levels_are_priorities_of_syslog(
    fake: FakeJournal, journal: Journal, level: int, priority: str
) -> None:
    JournalHandler(journal, Kept()).handle(record(level))
    assert fake.entries()[0]["PRIORITY"] == priority


def test_a_bug_is_one_of_its_own_kind_with_its_traceback(fake: FakeJournal, journal: Journal) -> None:
    try:
        raise ValueError("what?")
    except ValueError as error:
        JournalHandler(journal, Kept()).handle(record(exc_info=(type(error), error, error.__traceback__)))
    (entry,) = fake.entries()
    assert entry["MESSAGE_ID"] == BUG.id
    assert entry["MESSAGE"].startswith("it is so\nTraceback")
    assert entry["MESSAGE"].endswith("ValueError: what?")


def test_without_a_journal_the_line_goes_to_stderr(tmp_path: Path) -> None:
    journal, stderr = Journal(str(tmp_path / "nothing")), Kept()
    JournalHandler(journal, stderr).handle(record())
    assert stderr.lines == ["it is so"]
    journal.close()

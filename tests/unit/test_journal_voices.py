"""What a QEMU writes on stderr comes into the journal under its guest's name, and never too much of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from qsup.journal import voices
from qsup.journal.native import Journal, encode
from qsup.journal.voices import BURST, LAST_WORDS, RATE, Voices
from qsup.proc.bounded import LIMIT, Keeper
from qsup.proc.follow import CHUNK, LINE, Follower, Speaker
from tests.fakes.fake_journal import Entry, decode

WEB1 = Speaker("web1", 4321)
TPM = Speaker("web1", 4322, "tpm")


class Ear(Journal):
    """A journal that takes everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[Entry] = []
        self._something = asyncio.Event()

    def send(self, fields: Mapping[str, str]) -> None:
        self._found.append(decode(encode(fields)))
        self._something.set()

    def entries(self) -> list[Entry]:
        """What has arrived since the last time."""
        found, self._found = self._found, []
        self._something.clear()
        return found

    async def arrived(self) -> list[Entry]:
        """The same; waits for at least one."""
        async with asyncio.timeout(10):
            await self._something.wait()
        return self.entries()


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.close()


class Clock:
    """Stands still unless it is set forward."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard(ear: Ear, clock: Clock) -> Voices:
    return Voices(ear, clock)


class Writer:
    """A file and a process that appends to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "stderr.log"
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, data: bytes) -> None:
        os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


def texts(entries: list[Entry]) -> list[str]:
    return [entry["MESSAGE"] for entry in entries]


def test_a_line_stands_under_the_guests_own_name(ear: Ear, heard: Voices) -> None:
    heard.hear(WEB1, [b"qemu-system-x86_64: warning: host doesn't support requested feature"])
    assert ear.entries() == [
        {
            "MESSAGE": "qemu-system-x86_64: warning: host doesn't support requested feature",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "qsup-web1",
            "OBJECT_PID": "4321",
            "QSUP_GUEST": "web1",
        }
    ]
    heard.hear(TPM, [b"swtpm is tired"])
    (entry,) = ear.entries()
    assert (entry["SYSLOG_IDENTIFIER"], entry["QSUP_HELPER"], entry["OBJECT_PID"]) == (
        *("qsup-web1", "tpm"),
        "4322",
    )


def test_when_qemu_said_it_is_a_field_of_its_own(ear: Ear, heard: Voices) -> None:
    heard.hear(WEB1, [b"2026-05-04T10:33:24.236123Z qemu-system-x86_64: warning: odd"])
    (entry,) = ear.entries()
    assert entry["SYSLOG_TIMESTAMP"] == "2026-05-04T10:33:24.236123Z"
    assert (entry["MESSAGE"], entry["PRIORITY"]) == ("qemu-system-x86_64: warning: odd", "4")


@pytest.mark.parametrize(
    ("line", "priority"),
    [
        (b"qemu-system-x86_64: -device x: no such thing", "3"),
        (b"qemu-system-x86_64: warning: odd", "4"),
        (b"qemu: info: fine", "6"),
        (b"ERROR:../hw/core/cpu.c:12:f: assertion failed", "5"),
    ],
)
def test_how_grave_it_is_qemus_own_words_tell(ear: Ear, heard: Voices, line: bytes, priority: str) -> None:
    heard.hear(WEB1, [line])
    assert ear.entries()[0]["PRIORITY"] == priority


def test_nothing_arrives_that_a_terminal_would_act_on(ear: Ear, heard: Voices) -> None:
    heard.hear(WEB1, [b"\x1b]0;owned\x07 \x9b31m \xff \0 \xe2\x80\xae right\r"])
    (text,) = texts(ear.entries())
    assert text.isprintable()
    assert text == "\\u001b]0;owned\\u0007 \ufffd31m \ufffd \\u0000 \\u202e right"


def test_a_flood_is_cut_off_and_told_of_and_the_last_words_are_heard(
    ear: Ear, heard: Voices, clock: Clock
) -> None:
    count = 10_000
    heard.hear(WEB1, [b"%d" % number for number in range(count)])
    assert texts(ear.entries()) == [str(number) for number in range(int(BURST))]
    assert not heard.listens(WEB1)
    heard.miss(WEB1, 77)
    heard.hear(WEB1, [b"a", b"b"])
    heard.end(WEB1)
    told = ear.entries()
    assert texts(told) == [
        f"left out, as they were too many: {count - int(BURST)} lines and 77 bytes;"
        " `qsup log --stderr web1` has the last of it",
        "a",
        "b",
    ]
    assert told[0]["PRIORITY"] == "4"


def test_after_a_pause_one_is_heard_again(ear: Ear, heard: Voices, clock: Clock) -> None:
    heard.hear(WEB1, [b"x"] * (int(BURST) + LAST_WORDS + 5))
    ear.entries()
    clock.now += 2 / RATE
    assert heard.listens(WEB1)
    heard.hear(WEB1, [b"again"])
    assert texts(ear.entries()) == [
        f"left out, as they were too many: {LAST_WORDS + 5} lines; `qsup log --stderr web1` has the last of it",
        "again",
    ]


def test_all_guests_together_leave_room_for_the_daemons_own_words(
    ear: Ear, heard: Voices, clock: Clock
) -> None:
    total = 0
    for number in range(100):
        heard.hear(Speaker(f"web{number}", 1000 + number), [b"x"] * 100)
        total += len(ear.entries())
    assert total == voices.BURST_OF_ALL


def test_lines_come_whole_whatever_the_pieces_are(tmp_path: Path, ear: Ear, heard: Voices) -> None:
    writer = Writer(tmp_path)
    follower = Follower(writer.path, WEB1, heard, anew=True)
    writer.write(b"one\ntw")
    follower.news()
    assert texts(ear.entries()) == ["one"]
    writer.write(b"o\n\n\nthree")
    follower.news()
    assert texts(ear.entries()) == ["two"]
    writer.close()
    follower.end()
    assert texts(ear.entries()) == ["three"]


def test_a_long_line_is_cut(tmp_path: Path, ear: Ear, heard: Voices) -> None:
    writer = Writer(tmp_path)
    follower = Follower(writer.path, WEB1, heard, anew=True)
    writer.write(b"x" * LINE)
    follower.news()
    writer.write(b"y" * LINE + b"\nnext\n")
    follower.news()
    assert texts(ear.entries()) == ["x" * LINE, "next"]


def test_what_came_too_fast_to_be_read_is_told(tmp_path: Path, ear: Ear, heard: Voices) -> None:
    writer = Writer(tmp_path)
    follower = Follower(writer.path, WEB1, heard, anew=True)
    last = b"".join(b"%06d\n" % number for number in range(100))
    writer.write(b"x" * CHUNK + b"\n" + b"y" * (CHUNK - len(last) - 1) + b"\n" + last)
    follower.news()
    told = texts(ear.entries())
    assert told[0].startswith(f"left out, as they were too many: {CHUNK + 1} bytes;")
    assert told[-1] == "000099"


@pytest.mark.parametrize("known", [True, False])
def test_the_next_daemon_goes_on_where_the_last_one_was(
    tmp_path: Path, ear: Ear, heard: Voices, known: bool
) -> None:
    writer = Writer(tmp_path)
    writer.write(b"one\n")
    if known:
        Follower(writer.path, WEB1, heard, anew=True).news()
        assert texts(ear.entries()) == ["one"]
    writer.write(b"two\n")
    adopted = Follower(writer.path, WEB1, heard, anew=False)
    adopted.news()
    # Without a word of the last daemon's nobody knows how old it is.
    assert texts(ear.entries()) == (["two"] if known else [])
    writer.write(b"three\n")
    adopted.news()
    assert texts(ear.entries()) == ["three"]


@pytest.fixture
async def keeper(heard: Voices) -> AsyncIterator[Keeper]:
    made = Keeper(heard)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_keeper_passes_on_what_is_written_to_the_end(
    tmp_path: Path, ear: Ear, keeper: Keeper
) -> None:
    writer = Writer(tmp_path)
    writer.write(b"before anybody looked\n")
    keeper.watch(writer.path, WEB1, anew=True)
    writer.write(b"more\n")
    found = texts(await ear.arrived())
    while len(found) < 2:
        found += texts(await ear.arrived())
    assert found == ["before anybody looked", "more"]
    writer.write(b"the last words")
    writer.close()
    assert texts(await ear.arrived()) == ["the last words"]


async def test_a_file_that_is_emptied_is_read_on_from_its_beginning(
    tmp_path: Path, ear: Ear, keeper: Keeper
) -> None:
    writer = Writer(tmp_path)
    keeper.watch(writer.path, WEB1, anew=True)
    writer.write((b"x" * 1023 + b"\n") * (LIMIT // 1024 + 4))
    await ear.arrived()
    while writer.path.stat().st_size:
        await asyncio.sleep(0)
    writer.write(b"after\n")
    found = texts(await ear.arrived())
    while found[-1] != "after":
        found += texts(await ear.arrived())
    writer.close()


async def test_what_nobody_is_named_for_is_only_kept_small(tmp_path: Path, ear: Ear, keeper: Keeper) -> None:
    writer = Writer(tmp_path)
    keeper.watch(writer.path)
    writer.write(b"x" * (LIMIT + 4096))
    while writer.path.stat().st_size:
        await asyncio.sleep(0)
    writer.close()
    assert ear.entries() == []
    assert sorted(path.name for path in tmp_path.glob("stderr*")) == ["stderr.log", "stderr.log.1"]

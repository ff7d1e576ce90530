"""The history as the daemon uses it, and what becomes of it when its process or its disk fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from qsup import clock
from qsup.bus import Bus
from qsup.errors import RecordError
from qsup.events import Kind
from qsup.history import history as module
from qsup.history.history import History
from qsup.spec.tables.keeping import History as Keeping
from tests.conftest import ROOT
from tests.fakes.history_child import EVENTS
from tests.unit.history_files import account, opened

CHILD = [sys.executable, "-m", "tests.fakes.history_child"]


class Daemon:
    """A history and the bus that it listens to."""

    def __init__(self, path: Path) -> None:
        self.bus = Bus()
        self.surveyed = asyncio.Event()
        self.history = History(path, "boot", Keeping, self.surveyed.set)
        self.bus.hooks.append(self.history.hear)

    async def messages(self) -> list[object]:
        told = await self.history.of("web1", since=None, limit=10_000)
        return [event.data.get("message") for event in told.events]


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(path)
    task = asyncio.create_task(daemon.history.run())
    # The task's first step: from then on the history can be asked.
    await asyncio.sleep(0)
    try:
        yield daemon
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


async def test_whatever_was_announced_before_a_question_is_in_its_answer(path: Path) -> None:
    async with running(path) as daemon:
        for number in range(50):
            daemon.bus.publish(Kind.NOTICE, name="web1", message=str(number))
            assert await daemon.messages() == list(map(str, range(number + 1)))


async def test_events_are_kept_with_both_clocks_and_their_number(path: Path) -> None:
    async with running(path) as daemon:
        before = clock.now()
        event = daemon.bus.publish(Kind.SPEC, name="web1", change="added", paths=[])
        daemon.bus.publish(Kind.RELOADED, added=["web1"], changed=[], removed=[], problems=[])
        daemon.history.found("web1", phase="running", ready=True, wanted="running", adopted=False, pid=7)
        told = await daemon.history.of("web1", since=None, limit=10)
        spec, found = told.events
        assert (spec.wall, spec.seq, spec.kind, spec.data) == (event.at, 1, "GUEST_SPEC", event.data)
        assert before <= spec.now <= clock.now()
        assert (found.kind, found.data["phase"]) == ("GUEST_FOUND", "running")
        assert told.figures is not None
        assert told.figures.up > 0
        assert next(iter(told.watches.values())).boot == "boot"
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)
        assert connection.execute("SELECT orderly FROM watches").fetchone() == (1,)


async def test_what_was_announced_until_the_daemon_leaves_is_kept(path: Path) -> None:
    async with running(path) as daemon:
        for number in range(3000):
            daemon.bus.publish(Kind.NOTICE, name="web1", message=str(number))
    assert len(account(path).events) == 3000


async def test_a_question_does_not_wait_for_a_disk_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.01)
    async with running(path.parent / "nowhere" / "history.db") as daemon:
        daemon.bus.publish(Kind.NOTICE, name="web1", message="a")
        while daemon.history.trouble is None:
            assert await daemon.messages() == []
        assert "No such file or directory" in daemon.history.trouble
        assert await daemon.messages() == []


async def test_while_nothing_can_be_kept_no_guest_is_said_to_be_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(path) as daemon:
        daemon.history.found("web1", phase="running", ready=True, wanted="running", adopted=False, pid=7)
        assert (await daemon.messages()) == [None]
        monkeypatch.setattr(type(daemon.history), "trouble", "the disk is full")
        told = await daemon.history.of("web1", since=None, limit=10)
        assert told.figures is not None
        assert told.figures.unwatched > 0


async def test_a_reader_that_meets_damage_says_so_and_the_next_one_has_a_new_history(path: Path) -> None:
    async with running(path) as daemon:
        for _ in range(2000):
            daemon.bus.publish(Kind.NOTICE, name="web1", message="a" * 100)
        await daemon.messages()
        with opened(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\xff" * 8192)
        with pytest.raises(RecordError, match="damaged"):
            await daemon.messages()
        async with asyncio.timeout(20):
            await daemon.surveyed.wait()
        daemon.bus.publish(Kind.NOTICE, name="web1", message="b")
        assert await daemon.messages() == ["b"]


async def test_a_question_that_nobody_waits_for_any_more_holds_up_no_other(path: Path) -> None:
    async with running(path) as daemon:
        daemon.bus.publish(Kind.NOTICE, name="web1", message="a")
        asked = [asyncio.create_task(daemon.messages()) for _ in range(50)]
        await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        assert await daemon.messages() == ["a"]


def test_what_was_committed_survives_kill_9(path: Path) -> None:
    child = subprocess.Popen([*CHILD, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    for _ in range(300):
        assert child.stdout.readline()
    child.kill()
    committed = 300 + len(child.stdout.read().splitlines())
    child.wait()
    child.stdout.close()
    numbers = [event.seq for event in account(path).events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert committed <= len(numbers) <= committed + 1


def test_where_a_file_may_not_grow_the_events_wait(path: Path) -> None:
    assert overcome(path, "limit") == ["disk I/O error", f"{EVENTS} events are kept"]


def test_where_the_disk_is_full_the_events_wait(tmp_path: Path) -> None:
    """On a small file system of its own, in a mount namespace that ends with the process."""
    alone = ["unshare", "--mount" if os.geteuid() == 0 else "-rm", "sh", "-c", MOUNTED, "sh", str(tmp_path)]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    told = overcome(tmp_path / "history.db", "full", within=alone)
    assert told == ["database or disk is full", f"{EVENTS} events are kept"]


MOUNTED = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'


def overcome(path: Path, obstacle: str, within: Sequence[str] = ()) -> list[str]:
    """What a process says that meets an obstacle, and what when that has been cleared away."""
    words = [*within, *CHILD, str(path), obstacle]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        trouble = child.stdout.readline()
        out, _ = child.communicate("\n", timeout=60)
    assert child.returncode == 0
    return [trouble.strip().rpartition(": ")[2], out.strip()]

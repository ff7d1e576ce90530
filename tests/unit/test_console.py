"""Serial ports: the log, the viewers, and guests that print without end or do not read."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsup import endpoint
from qsup.errors import QmpLost, QsupError
from qsup.proc import console as module
from qsup.proc.console import Console
from qsup.proc.printed import KEPT
from qsup.proc.rotated import START, RotatedLog
from qsup.proc.viewer import VIEWER_LIMIT

if TYPE_CHECKING:
    import socket


async def connected(console: Console, directory: Path) -> socket.socket:
    """Connect the console to a port in the directory; return the guest's end."""
    with endpoint.listen(directory, "port.sock") as listener:
        await console.connect(directory, "port.sock")
        guest, _ = listener.accept()
        guest.setblocking(False)
    (directory / "port.sock").unlink()
    return guest


async def say(guest: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(guest, data)


async def test_what_the_guest_prints_reaches_every_viewer_and_the_log(tmp_path: Path) -> None:
    console = Console("web1/console", RotatedLog(tmp_path / "log", 1000))
    guest = await connected(console, tmp_path)
    with console.attach() as one, console.attach() as two:
        await say(guest, b"hello")
        assert await anext(aiter(one)) == b"hello"
        assert await anext(aiter(two)) == b"hello"
    assert console.tail(100) == b"hello"
    await console.write(b"typed")
    assert await asyncio.get_running_loop().sock_recv(guest, 100) == b"typed"
    await console.close()
    guest.close()


async def test_a_viewer_stays_through_a_restart_of_the_guest(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    first = await connected(console, tmp_path)
    with console.attach() as viewer:
        output = aiter(viewer)
        await say(first, b"one")
        assert await anext(output) == b"one"
        first.close()
        second = await connected(console, tmp_path)
        await say(second, b"two")
        assert await anext(output) == b"two"
        await console.close()
        with pytest.raises(StopAsyncIteration):
            await anext(output)
    second.close()


async def test_a_viewer_that_does_not_read_loses_the_oldest_and_delays_nobody(tmp_path: Path) -> None:
    console = Console("web1/console", RotatedLog(tmp_path / "log", 1 << 20))
    guest = await connected(console, tmp_path)
    with console.attach() as lazy, console.attach() as keen:
        output = aiter(keen)
        total = 0
        for number in range(40):
            await say(guest, bytes([number]) * 8192)
            while total < (number + 1) * 8192:
                total += len(await anext(output))
        assert await anext(aiter(lazy)) == b"".join(bytes([number]) * 8192 for number in range(32, 40))
        assert VIEWER_LIMIT == 8 * 8192
    await console.close()
    guest.close()


async def test_typing_to_a_guest_that_is_off_is_an_error(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    with pytest.raises(QsupError, match="does not run"):
        await console.write(b"x")
    with pytest.raises(QmpLost, match="nobody listens"):
        await console.connect(tmp_path, "port.sock")
    await console.close()


async def test_typing_to_a_guest_that_does_not_read_ends_at_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_PATIENCE", 0.05)
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    with pytest.raises(QsupError, match="does not read"):
        await console.write(b"x" * (8 << 20))
    await console.close()
    guest.close()


def test_a_log_is_rotated_and_its_tail_spans_both_files(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "deep" / "log", 100)
    for number in range(25):
        log.append(b"%09d\n" % number)
    assert log.tail(1000).splitlines()[-1] == b"000000024"
    assert len(log.tail(1000)) == 150
    assert log.tail(60) == b"".join(b"%09d\n" % number for number in range(19, 25))
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["log", "log.1"]
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_costs_log_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = RotatedLog(tmp_path / "log", 100)
    log._fd = os.open("/dev/full", os.O_WRONLY)
    log.append(b"lost")
    assert log.lost == 4
    assert "cannot be written" in caplog.text
    log.append(b"kept")
    assert log.tail(10) == b"kept"
    log.close()


def test_a_log_that_cannot_be_rotated_does_not_grow(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "log", 100)
    (tmp_path / "log.1").mkdir()
    for _ in range(30):
        log.append(b"123456789\n")
    assert (tmp_path / "log").stat().st_size == 100
    assert log.lost == 200
    log.close()


async def test_a_guest_that_prints_without_end_is_read_at_a_bounded_rate(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    flooding = asyncio.ensure_future(say(guest, b"x" * (8 << 20)))
    with console.attach() as viewer:
        output = aiter(viewer)
        began, total = time.monotonic(), 0
        while total < 200_000:
            total += len(await anext(output))
        assert time.monotonic() - began > 0.1, "256 KiB at once, then 1 MiB a second"
    flooding.cancel()
    await console.close()
    with pytest.raises(asyncio.CancelledError):
        await flooding
    guest.close()


async def test_a_guest_that_ends_while_somebody_types_is_told_at_once(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    typing = asyncio.ensure_future(console.write(b"x" * (8 << 20)))
    await asyncio.get_running_loop().sock_recv(guest, 1)
    guest.close()
    with pytest.raises(QsupError, match="the guest ended before it took what was typed"):
        await typing
    assert not console.connected
    await console.close()


async def test_what_a_guest_has_not_read_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_PATIENCE", 0.02)
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    for letter in (b"a", b"b", b"c"):
        with pytest.raises(QsupError, match="does not read"):
            await console.write(letter * (1 << 20))
    received = bytearray()
    while len(received) < 1 << 20:
        received += await asyncio.get_running_loop().sock_recv(guest, 1 << 20)
    assert bytes(received) == b"a" * (1 << 20)
    await console.write(b"d")
    assert await asyncio.get_running_loop().sock_recv(guest, 100) == b"d"
    await console.close()
    guest.close()


async def test_a_console_that_is_closed_has_nothing_more_to_show(tmp_path: Path) -> None:
    console = Console("web1/console", RotatedLog(tmp_path / "log", 1000))
    guest = await connected(console, tmp_path)
    await console.close()
    await console.close()
    with console.attach() as viewer:
        assert [data async for data in viewer] == []
    guest.close()


async def test_who_listens_hears_everything_as_it_comes(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    assert console.last_output is None
    heard: list[bytes] = []
    with console.attach() as viewer, console.listening(heard.append):
        output = aiter(viewer)
        await say(guest, b"one")
        assert await anext(output) == b"one"
        assert heard == [b"one"]
        assert console.last_output is not None
    with console.attach() as viewer:
        await say(guest, b"two")
        assert await anext(aiter(viewer)) == b"two"
    assert heard == [b"one"]
    await console.close()
    guest.close()


async def prints(console: Console, guest: socket.socket, data: bytes) -> None:
    """Print something, and wait until the console has it."""
    with console.attach() as viewer:
        await say(guest, data)
        assert await anext(aiter(viewer)) == data


@pytest.mark.parametrize("logged", [True, False])
async def test_what_a_run_has_printed_leaves_out_the_runs_before(tmp_path: Path, logged: bool) -> None:
    console = Console("web1/console", RotatedLog(tmp_path / "log", 1000) if logged else None)
    assert console.printed(100) == b""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        guest = await connected(console, tmp_path / name)
        assert console.printed(100) == b""
        await prints(console, guest, f"the {name} run".encode())
        assert console.printed(100) == f"the {name} run".encode()
        assert console.printed(3) == b"run"
        guest.close()
    await console.close()


async def test_the_next_daemon_knows_where_the_run_began(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    first = Console("web1/console", RotatedLog(tmp_path / "log", 1000))
    (tmp_path / "log").write_bytes(b"an earlier run")
    guest = await connected(first, run_dir)
    await prints(first, guest, b"this run")
    await first.close()
    guest.close()
    second = Console("web1/console", RotatedLog(tmp_path / "log", 1000))
    guest = await connected(second, run_dir)
    assert second.printed(100) == b"this run"
    await second.close()
    guest.close()


async def test_a_mark_that_is_torn_costs_the_past_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "port.sock.began").write_text("no place")
    (tmp_path / "log").write_bytes(b"earlier")
    console = Console("web1/console", RotatedLog(tmp_path / "log", 1000))
    guest = await connected(console, tmp_path)
    await prints(console, guest, b"now")
    assert console.printed(100) == b"now"
    await console.close()
    guest.close()


async def test_without_a_log_only_the_last_is_kept(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    await prints(console, guest, b"x" * KEPT)
    await prints(console, guest, b"y")
    assert console.printed(1 << 20) == b"x" * (KEPT - 1) + b"y"
    await console.close()
    guest.close()


def test_a_mark_in_a_log_survives_its_rotation(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "log", 100)
    log.append(b"a" * 60)
    log.mark = log.end() or START
    assert log.since_mark(1000) == b""
    log.append(b"b" * 30)
    assert log.since_mark(1000) == b"b" * 30
    log.append(b"c" * 30)
    assert log.since_mark(1000) == b"b" * 30 + b"c" * 30
    assert log.since_mark(40) == b"b" * 10 + b"c" * 30
    for letter in (b"d", b"e"):
        log.append(letter * 90)
    assert log.since_mark(1000) == b"d" * 90 + b"e" * 90
    log.close()


async def test_a_run_whose_beginning_is_rotated_away_goes_back_as_far_as_the_log(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    first = Console("web1/console", RotatedLog(tmp_path / "log", 100))
    guest = await connected(first, run_dir)
    for letter in (b"a", b"b", b"c"):
        await prints(first, guest, letter * 90)
    assert first.printed(1000) == b"b" * 90 + b"c" * 90
    await first.close()
    guest.close()
    second = Console("web1/console", RotatedLog(tmp_path / "log", 100))
    guest = await connected(second, run_dir)
    assert second.printed(1000) == b"b" * 90 + b"c" * 90
    await second.close()
    guest.close()

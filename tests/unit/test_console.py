"""Serial ports: the log, the viewers, and guests that print without end or do not read."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from qsup.errors import QmpLost, QsupError
from qsup.proc import console as module
from qsup.proc.console import VIEWER_LIMIT, Console
from qsup.proc.rotated import RotatedLog
from qsup.qmp import endpoint


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
        assert sum(map(len, lazy._chunks)) <= VIEWER_LIMIT
        assert (await anext(aiter(lazy)))[0] > 0
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


async def test_sockets_work_in_directories_with_long_names(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    with endpoint.listen(directory, "qmp.sock") as listener:
        assert (directory / "qmp.sock").stat().st_mode & 0o777 == 0o600
        client = await endpoint.connect(directory, "qmp.sock")
        accepted, _ = listener.accept()
        accepted.close()
        client.close()


async def test_a_full_backlog_is_waited_for_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE", 0.1)
    with endpoint.listen(tmp_path, "qmp.sock"):
        clients = []
        with pytest.raises(QmpLost, match="too many clients"):
            for _ in range(20):
                clients.append(await endpoint.connect(tmp_path, "qmp.sock"))  # noqa: PERF401 - kept if one fails
        for client in clients:
            client.close()

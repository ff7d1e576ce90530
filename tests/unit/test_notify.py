"""The notifier, spoken to over real datagram sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from qsup.notify import STATUS_LIMIT, Notifier, watchdog_interval
from qsup.post import MOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on: a datagram socket at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify.sock"))
        listener.settimeout(5)
        yield listener


def notifier_to(manager: socket.socket) -> Notifier:
    return Notifier(manager.getsockname())


def fields(manager: socket.socket) -> dict[str, str]:
    """The next datagram, taken apart."""
    text = manager.recv(65536).decode()
    assert text.endswith("\n")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_ready_is_announced_together_with_the_status(manager: socket.socket) -> None:
    notifier_to(manager).ready("2 guests run")
    assert fields(manager) == {"READY": "1", "STATUS": "2 guests run"}


def test_reloading_carries_the_monotonic_time_in_microseconds(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    notifier_to(manager).reloading()
    after = time.monotonic_ns() // 1000
    got = fields(manager)
    assert got["RELOADING"] == "1"
    assert before <= int(got["MONOTONIC_USEC"]) <= after


def test_stopping_status_and_watchdog_are_one_datagram_each(manager: socket.socket) -> None:
    notifier = notifier_to(manager)
    notifier.stopping("2 guests go on")
    notifier.status("1 guest runs")
    notifier.watchdog()
    assert [fields(manager) for _ in range(3)] == [
        {"STOPPING": "1", "STATUS": "2 guests go on"},
        {"STATUS": "1 guest runs"},
        {"WATCHDOG": "1"},
    ]


def test_an_abstract_socket_is_written_with_an_at_sign() -> None:
    name = f"qsup-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        Notifier("@" + name).watchdog()
        assert fields(listener) == {"WATCHDOG": "1"}


def test_a_status_cannot_smuggle_in_another_field(manager: socket.socket) -> None:
    notifier_to(manager).status("web1 said:\nREADY=1\r\nMAINPID=1")
    assert fields(manager) == {"STATUS": "web1 said: READY=1 MAINPID=1"}


def test_a_raw_field_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="one line"):
        Notifier(None).notify(STATUS="a\nREADY=1")


def test_a_long_status_is_cut(manager: socket.socket) -> None:
    notifier_to(manager).status("x" * 10_000)
    assert fields(manager) == {"STATUS": "x" * STATUS_LIMIT}


def test_the_environment_is_consumed_so_that_children_stay_silent(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    notifier = Notifier.from_environment()
    assert "NOTIFY_SOCKET" not in os.environ
    notifier.watchdog()
    assert fields(manager) == {"WATCHDOG": "1"}


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_socket_nothing_is_sent_and_nothing_is_said(
    value: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if value is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    Notifier.from_environment().ready("up")
    assert not caplog.records


def test_a_manager_that_has_gone_is_reported_once_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(str(tmp_path / "nobody.sock"))
    with caplog.at_level(logging.WARNING):
        notifier.watchdog()
        notifier.watchdog()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "WATCHDOG" in caplog.text


def test_a_manager_that_does_not_read_never_blocks_the_daemon(manager: socket.socket) -> None:
    notifier = notifier_to(manager)
    for number in range(2000):  # far beyond net.unix.max_dgram_qlen
        notifier.status(f"message {number}")
    assert fields(manager) == {"STATUS": "message 0"}


async def test_what_a_slow_manager_has_no_room_for_reaches_it_in_order_with_its_fds(
    manager: socket.socket,
) -> None:
    notifier = notifier_to(manager)
    for number in range(1000):
        fd = os.open(os.devnull, os.O_RDONLY)
        notifier.store(f"kept-{number}", fd)
        os.close(fd)
    notifier.ready("up")
    names = []
    for _ in range(1000):
        message, fds, *_ = await asyncio.to_thread(socket.recv_fds, manager, 65536, 4)
        (fd,) = fds
        os.close(fd)
        names.append(message.decode().splitlines()[1])
        await asyncio.sleep(0)
    assert names == [f"FDNAME=kept-{number}" for number in range(1000)]
    assert (await asyncio.to_thread(fields, manager))["READY"] == "1"
    notifier.close()


async def test_a_manager_that_goes_while_messages_wait_is_reported_and_the_next_one_is_told(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    notifier, path = notifier_to(manager), manager.getsockname()
    for number in range(1000):
        notifier.status(f"message {number}")
    with caplog.at_level(logging.WARNING):
        manager.close()
        while not caplog.records:
            await asyncio.sleep(0)
    assert "systemd cannot be told anything" in caplog.text
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as successor:
        successor.bind(path)
        notifier.watchdog()
        assert fields(successor) == {"WATCHDOG": "1"}


async def test_messages_that_wait_are_bounded_and_forgotten_at_the_end(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = notifier_to(manager)
    with caplog.at_level(logging.WARNING):
        for number in range(MOST + 1000):
            notifier.status(f"message {number}")
    assert [record.getMessage() for record in caplog.records] == [
        f"systemd cannot be told STATUS: [Errno 11] {MOST} messages wait already, ignoring"
    ]
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.25),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_interval_is_half_of_what_systemd_allows_this_process(
    environ: dict[str, str], interval: float | None
) -> None:
    assert watchdog_interval(environ) == interval

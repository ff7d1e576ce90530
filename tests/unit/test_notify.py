"""The notifier, spoken to over real datagram sockets."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from qsup.notify import STATUS_LIMIT, Notifier, watchdog_interval

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

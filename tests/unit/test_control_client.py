"""The blocking client, against servers that are silent, strange or rude."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qsup.control.client import Client
from qsup.errors import DaemonUnreachable, GuestNotFound, NotAllowed, QsupError, TimedOut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREETING = b'{"QMP": {}}\r\n{"return": {}}\r\n'


@contextlib.contextmanager
def server(path: Path, *pieces: bytes, hang_up: bool = False) -> Iterator[str]:
    """Sends the pieces to the first client, then hangs up or stays silent until the test is over."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for piece in pieces:
                connection.sendall(piece)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            over.wait(20)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(path)
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("pieces", [(), (b'{"QMP": {}}\r\n',), (b'{"QMP": ',)])
def test_a_daemon_that_does_not_shake_hands_is_given_up_in_time(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    began = time.monotonic()
    with (
        server(tmp_path / "s", *pieces) as path,
        pytest.raises(DaemonUnreachable, match="does not answer in time"),
    ):
        Client(path, handshake=0.1)
    assert time.monotonic() - began < 5


def test_a_trickle_does_not_move_the_deadline(tmp_path: Path) -> None:
    with (
        server(tmp_path / "s", GREETING, b'{"event": "A", "data": {}}\r\n' * 3) as path,
        Client(path) as client,
        pytest.raises(DaemonUnreachable, match="does not answer in time"),
    ):
        client.call("query-version", {}, timeout=0.1)


@pytest.mark.parametrize("greeting", [b"220 smtp\r\n", b"[]\r\n", b'{"return": {}}\r\n'])
def test_what_is_no_daemon_is_told(tmp_path: Path, greeting: bytes) -> None:
    with server(tmp_path / "s", greeting) as path, pytest.raises(DaemonUnreachable, match="is not qsupd"):
        Client(path)


@pytest.mark.parametrize(
    ("wire_class", "kind"),
    [
        ("GuestNotFound", GuestNotFound),
        ("TimedOut", TimedOut),
        ("NotAllowed", NotAllowed),
        ("Unheard", QsupError),
    ],
)
def test_an_error_on_the_wire_is_the_same_error_here(
    tmp_path: Path, wire_class: str, kind: type[QsupError]
) -> None:
    reply = b'{"error": {"class": "%s", "desc": "no"}}\r\n' % wire_class.encode()
    with server(tmp_path / "s", GREETING, reply) as path, Client(path) as client:
        with pytest.raises(QsupError, match="no") as raised:
            client.call("guest-start", {})
        assert type(raised.value) is kind


def test_a_refusal_instead_of_the_greeting_is_that_error(tmp_path: Path) -> None:
    refusal = b'{"error": {"class": "NotAllowed", "desc": "not you"}}\r\n'
    with server(tmp_path / "s", refusal, hang_up=True) as path, pytest.raises(NotAllowed, match="not you"):
        Client(path)


def test_events_between_are_kept_and_come_first(tmp_path: Path) -> None:
    pieces = (GREETING, b'{"event": "A"}\r\n{"return"', b': 7}\r\n{"event": "B"}\r\n')
    with server(tmp_path / "s", *pieces, hang_up=True) as path, Client(path) as client:
        assert client.call("query-version", {}) == 7
        events = client.events()
        assert [next(events)["event"], next(events)["event"]] == ["A", "B"]
        with pytest.raises(DaemonUnreachable, match="went away"):
            next(events)


def test_what_follows_an_answer_belongs_to_who_takes_over(tmp_path: Path) -> None:
    with server(tmp_path / "s", GREETING + b'{"return": {}}\r\nraw \xff') as path, Client(path) as client:
        client.call("guest-console", {})
        connection, first = client.take_over()
        assert connection.gettimeout() is None
        while len(first) < 5:
            first += connection.recv(10)
        assert first == b"raw \xff"

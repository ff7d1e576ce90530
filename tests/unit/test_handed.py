"""The control socket as systemd hands it over: it is served, and left as it is."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from qsup import handed
from qsup.access.access import Access
from qsup.control.server import ControlServer
from qsup.errors import QsupError
from tests.fakes.fake_history import FakeHistory
from tests.fakes.fake_supervisor import FakeAlerts, FakeSupervisor

if TYPE_CHECKING:
    from pathlib import Path


def listening(path: Path) -> socket.socket:
    """What systemd has opened."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.bind(str(path))
    path.chmod(0o660)
    opened.listen()
    return opened


async def test_it_is_served_with_the_permissions_of_the_rules_and_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with listening(path) as systemds:
        found = {"control": [os.dup(systemds.fileno())], "monitor-1": [99]}
        taken = handed.take(found, "control")
        assert taken is not None
        assert found == {"monitor-1": [99]}
        fd, was = taken.fileno(), path.stat()
        server = ControlServer(
            tmp_path / "other.sock",
            FakeSupervisor(),
            FakeAlerts(),
            FakeHistory(),
            Access("qsup.toml"),
            handed=taken,
        )
        await server.start()
        assert server.path == str(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
        await server.close()
        assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (was.st_ino, 0o600)
        assert not (tmp_path / "other.sock").exists()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        # Who comes now waits for the next daemon.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
        assert systemds.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_without_systemd_there_is_none() -> None:
    found = {"monitor-1": [99]}
    assert handed.take(found, "control") is None
    assert found == {"monitor-1": [99]}


def test_what_is_no_listening_unix_socket_is_refused_and_closed(tmp_path: Path) -> None:
    left, right = socket.socketpair()
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    internet = socket.create_server(("127.0.0.1", 0))
    with left, right, datagram, internet, (tmp_path / "file").open("w") as file:
        for wrong in (left, datagram, internet, file):
            fd = os.dup(wrong.fileno())
            with pytest.raises(QsupError, match="hands over as control"):
                handed.take({"control": [fd]}, "control")
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)


def test_two_of_them_are_refused_and_closed(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as one, listening(tmp_path / "b") as two:
        fds = [os.dup(one.fileno()), os.dup(two.fileno())]
        with pytest.raises(QsupError, match="2 sockets named control"):
            handed.take({"control": [*fds]}, "control")
        for fd in fds:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)

"""The door at which guests report, with Unix sockets in place of vsocks wherever there is no vsock to oneself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.checks import notify
from qsup.checks.message import Boot, leaving, parse
from qsup.checks.notify import Notices, listen, peer_cid, port_of, ready
from qsup.checks.verdict import Passed

CID = 7


@contextlib.asynccontextmanager
async def door(directory: Path) -> AsyncIterator[Notices]:
    """A door on a Unix socket. A guest's context id is the name of the socket that it speaks from."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(directory / "door"))
    listener.listen()
    notices = Notices(listener, lambda address: int(address.rpartition("/")[2].partition("-")[0]))
    serving = asyncio.ensure_future(notices.serve())
    try:
        yield notices
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


class Guest:
    """A guest's systemd: it connects for each message, shuts down its side and waits until we hang up."""

    count = 0

    def __init__(self, directory: Path, cid: int = CID) -> None:
        self.directory = directory
        self.cid = cid

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        Guest.count += 1
        sock.bind(str(self.directory / f"{self.cid}-{Guest.count}"))
        sock.connect(str(self.directory / "door"))
        sock.setblocking(False)
        return sock

    async def says(self, message: str, *, pieces: int = 1000, shut: bool = True) -> bytes:
        """Send a message; return what comes back before the other side hangs up."""
        loop = asyncio.get_running_loop()
        data = message.encode()
        with self.connect() as sock:
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(data), pieces):
                    await loop.sock_sendall(sock, data[start : start + pieces])
                if shut:
                    sock.shutdown(socket.SHUT_WR)
            try:
                return await loop.sock_recv(sock, 100)
            except ConnectionError:
                return b"reset"


async def test_the_message_is_taken_whole_and_the_connection_ended(tmp_path: Path) -> None:
    async with door(tmp_path) as notices:
        heard: list[Mapping[str, str]] = []
        with notices.listening(CID, heard.append):
            assert await Guest(tmp_path).says("READY=1\nSTATUS=Up.\nMAINPID=1\n", pieces=3) == b""
        assert heard == [{"READY": "1", "STATUS": "Up."}]


async def test_each_guest_is_heard_by_those_who_listen_to_it(tmp_path: Path) -> None:
    async with door(tmp_path) as notices:
        one: list[Mapping[str, str]] = []
        other: list[Mapping[str, str]] = []
        with notices.listening(3, one.append), notices.listening(4, other.append):
            with notices.listening(3, one.append):
                await Guest(tmp_path, 3).says("STATUS=three")
            await Guest(tmp_path, 4).says("STATUS=four")
            await Guest(tmp_path, 5).says("STATUS=five")
        await Guest(tmp_path, 3).says("STATUS=late")
        assert one == [{"STATUS": "three"}] * 2
        assert other == [{"STATUS": "four"}]


async def test_a_message_whose_end_is_not_told_counts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "LINGER", 0.01)
    async with door(tmp_path) as notices:
        waiting = asyncio.ensure_future(ready(notices, CID))
        await asyncio.sleep(0)
        assert await Guest(tmp_path).says("READY=1", shut=False) == b""
        assert await waiting == Passed("its systemd says that it is ready")


async def test_a_guest_is_ready_once_its_systemd_says_so(tmp_path: Path) -> None:
    async with door(tmp_path) as notices:
        waiting = asyncio.ensure_future(ready(notices, CID))
        await asyncio.sleep(0)
        guest = Guest(tmp_path)
        for message in ("X_SYSTEMD_UNIT_ACTIVE=basic.target", "STATUS=Starting", "READY=0"):
            await guest.says(message)
            assert not waiting.done()
        await Guest(tmp_path, 8).says("READY=1")
        assert not waiting.done()
        await guest.says("READY=1\nSTATUS=Startup finished in 2s.")
        assert await waiting == Passed("its systemd says that it is ready: Startup finished in 2s.")
        assert not notices._guests


async def test_a_flood_of_one_guest_is_dropped_and_the_next_guest_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "BURST", 3.0)
    monkeypatch.setattr(notify, "RATE", 0.0001)
    async with door(tmp_path) as notices:
        heard: list[Mapping[str, str]] = []
        with notices.listening(CID, heard.append), notices.listening(8, heard.append):
            for _ in range(10):
                await Guest(tmp_path).says("STATUS=flood")
            await Guest(tmp_path, 8).says("STATUS=other")
        assert heard == [{"STATUS": "flood"}] * 3 + [{"STATUS": "other"}]


async def test_a_guest_may_have_only_so_many_connections_open(tmp_path: Path) -> None:
    async with door(tmp_path) as notices:
        heard: list[Mapping[str, str]] = []
        with notices.listening(CID, heard.append), contextlib.ExitStack() as held:
            guest = Guest(tmp_path)
            for _ in range(notify.OPEN):
                held.enter_context(guest.connect())
            assert await guest.says("STATUS=one too many") in (b"", b"reset")
            assert heard == []


async def test_a_message_without_end_is_cut(tmp_path: Path) -> None:
    async with door(tmp_path) as notices:
        heard: list[Mapping[str, str]] = []
        with notices.listening(CID, heard.append):
            await Guest(tmp_path).says("STATUS=x\n" + "y" * (1 << 20) + "\nREADY=1")
        assert heard == [{"STATUS": "x"}]


async def test_no_descriptors_for_a_moment_cost_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "SHORTAGE", 0.0)
    async with door(tmp_path) as notices:
        accept, failures = notices._loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED]

        async def short(sock: socket.socket) -> tuple[socket.socket, object]:
            if failures:
                raise OSError(failures.pop(0), "Too many open files")
            return await accept(sock)

        monkeypatch.setattr(notices._loop, "sock_accept", short)
        waiting = asyncio.ensure_future(ready(notices, CID))
        await asyncio.sleep(0)
        await Guest(tmp_path).says("READY=1")
        assert isinstance(await waiting, Passed)
    assert "no guest can tell that it is ready: Too many open files" in caplog.text


async def test_a_door_that_breaks_is_told_and_ends_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # It does not listen, so accept() fails for good.
    await Notices(listener).serve()
    assert listener.fileno() == -1
    assert "no guest can tell that it is ready any more" in caplog.text


async def test_what_is_open_is_closed_when_the_door_is(tmp_path: Path) -> None:
    async with door(tmp_path) as notices:
        with notices.listening(CID, lambda _: None):
            sock = Guest(tmp_path).connect()
            while not notices._guests[CID].open:
                await asyncio.sleep(0)
    with sock:
        assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""


def test_the_port_of_a_daemon_stays_the_same_and_is_its_own() -> None:
    assert port_of("/run/qsup") == port_of("/run/qsup") != port_of("/run/other")
    assert notify.LEAST_PORT <= port_of("/run/qsup") <= notify.MOST_PORT


NO_VSOCK = not Path("/dev/vsock").exists()
NO_LOOPBACK = not Path("/sys/module/vsock_loopback").exists()


@pytest.mark.skipif(NO_VSOCK, reason="this kernel has no vsock: there is no /dev/vsock")
async def test_the_vsock_port_can_be_taken_once() -> None:
    port = port_of("a daemon of this test")
    with listen(port) as listener:
        assert listener.getsockname() == (socket.VMADDR_CID_ANY, port)
        with pytest.raises(OSError, match="in use"):
            listen(port)


@pytest.mark.skipif(NO_LOOPBACK, reason="this kernel has no vsock to itself (vsock_loopback)")
async def test_a_message_over_a_real_vsock_is_heard_with_its_sender() -> None:
    port = port_of("another daemon of this test")
    notices = Notices(listen(port))
    serving = asyncio.ensure_future(notices.serve())
    local = 1
    waiting = asyncio.ensure_future(ready(notices, peer_cid((local, port))))
    await asyncio.sleep(0)
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (local, port))
        await loop.sock_sendall(sock, b"READY=1")
        sock.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(sock, 1) == b""
    assert isinstance(await waiting, Passed)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


# Messages


def test_of_a_message_only_known_fields_are_kept_short_and_printable() -> None:
    data = (
        b"READY=1\n\nSTATUS=\x1b[2Jhello \nPASSWORD=x\nSTATUS\nEXIT_STATUS=" + b"9" * 1000 + b"\nERRNO=\xff"
    )
    assert parse(data) == {
        "READY": "1",
        "STATUS": "\ufffd[2Jhello",
        "EXIT_STATUS": "9" * 200,
        "ERRNO": "\ufffd",
    }


@given(st.binary(max_size=300))
def test_nothing_that_a_guest_sends_is_too_much(data: bytes) -> None:
    fields = parse(data)
    assert all(value.isprintable() for value in fields.values())
    Boot().after(fields)


def booted(*messages: str) -> Boot:
    boot = Boot()
    for message in messages:
        boot = boot.after(parse(message.encode()))
    return boot


def test_a_guest_that_has_ended_up_in_the_emergency_shell_is_not_ready() -> None:
    emergency = ("X_SYSTEMD_UNIT_ACTIVE=emergency.target", "READY=1\nSTATUS=Ready.")
    assert booted("READY=1").ready
    assert not booted(*emergency).ready
    assert not booted(*emergency, "X_SYSTEMD_UNIT_INACTIVE=basic.target").ready
    assert booted(*emergency, "X_SYSTEMD_UNIT_INACTIVE=emergency.target").ready
    assert booted(*emergency).status == "Ready."


def test_a_guest_that_goes_down_says_so() -> None:
    assert leaving(parse(b"STOPPING=1"))
    assert leaving(parse(b"EXIT_STATUS=0\nX_SYSTEMD_SHUTDOWN=reboot"))
    assert not leaving(parse(b"READY=1"))

"""Asking a guest over TCP and HTTP: what passes, what fails, and what says nothing of the guest."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from qsup.checks import http, reach, resolve, tcp, usernet
from qsup.checks.reach import within
from qsup.checks.verdict import Failed, Passed, Unable, Verdict
from qsup.errors import QmpLost

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(script: Script, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server that does what the script says to each client; its port."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


def answers(answer: bytes) -> Script:
    """A server that gives an answer and hangs up."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return script


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody else will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def open_fds() -> list[str]:
    return os.listdir("/proc/self/fd")


# TCP


async def test_a_connection_that_is_taken_passes() -> None:
    async with serving(silent) as port:
        assert await tcp.connect(f"127.0.0.1:{port}", 5) == Passed(f"127.0.0.1:{port} takes a connection")
    async with serving(silent, "::1") as port:
        assert await tcp.connect(f"[::1]:{port}", 5) == Passed(f"[::1]:{port} takes a connection")


async def test_a_connection_that_is_refused_fails(closed_port: int) -> None:
    where = f"127.0.0.1:{closed_port}"
    assert await tcp.connect(where, 5) == Failed(f"{where}: Connection refused")


async def test_a_connection_that_nobody_takes_fails_at_the_deadline() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler = fillers.enter_context(socket.socket())
        filler.connect(listener.getsockname())
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        before = open_fds()
        assert await tcp.connect(where, 0.05) == Failed(f"{where} does not answer within 0.05 s")
        assert open_fds() == before


async def test_a_port_of_this_host_that_would_be_connected_with_itself_is_refused(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bound(socket.socket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(("127.0.0.1", port))

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(reach, "socket", types.SimpleNamespace(**vars(socket) | {"socket": Bound}))
    assert await tcp.connect(f"127.0.0.1:{port}", 5) == Failed(f"127.0.0.1:{port}: Connection refused")


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, open_fds())) + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


async def test_a_host_without_descriptors_says_nothing_of_the_guest() -> None:
    async with serving(silent) as port:
        with no_descriptors_left():
            verdict = await tcp.connect(f"127.0.0.1:{port}", 5)
    assert verdict == Unable(f"127.0.0.1:{port}: Too many open files")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ECONNREFUSED, Failed),
        (errno.ECONNRESET, Failed),
        (errno.EHOSTUNREACH, Failed),
        (errno.ETIMEDOUT, Failed),
        (errno.EMFILE, Unable),
        (errno.ENOBUFS, Unable),
        (errno.EADDRNOTAVAIL, Unable),
        (errno.ENETUNREACH, Unable),
        (errno.EPERM, Unable),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else value.__name__,
)
async def test_only_what_the_other_side_does_is_a_failure(number: int, kind: type[Verdict]) -> None:
    async def attempt() -> Verdict:
        raise OSError(number, os.strerror(number))

    assert isinstance(await within(5, "web1", attempt()), kind)


# TCP through QEMU's user network

HEAD = "Hub -1 (net-lan):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n"


def table(port: int, *states: str) -> str:
    rows = [(state, port, 80) for state in states] + [("HOST_FORWARD", port, 80)]
    # Connections that the guest has made, one of them from a port of the same number.
    rows = [("ESTABLISHED", 40000, 443), ("ESTABLISHED", port, 443), *rows]
    return HEAD + "".join(
        f"  TCP[{state}]   8       127.0.0.1 {port:5}       10.0.2.15 {inner:5}     0     0\n"
        for state, port, inner in rows
    )


def monitor(*tables: str) -> tuple[Callable[[str], Awaitable[str]], list[str]]:
    """A monitor that prints one table after the other, the last for good; and the tables left."""
    left = list(tables)

    async def ask(command: str) -> str:
        assert command == "info usernet"
        return left.pop(0) if len(left) > 1 else left[0]

    return ask, left


async def test_qemu_tells_when_the_guest_has_taken_the_connection() -> None:
    async with serving(silent) as port:
        before, stale = table(port, "ESTABLISHED"), table(port, "ESTABLISHED")
        ask, left = monitor(
            before,
            stale,
            table(port, "SYN_SENT", "ESTABLISHED"),
            table(port, "SYN_SENT", "ESTABLISHED"),
            table(port, "ESTABLISHED", "ESTABLISHED"),
        )
        verdict = await tcp.connect(f"127.0.0.1:{port}", 5, monitor=ask)
        assert verdict == Passed(f"127.0.0.1:{port} takes a connection, and the guest behind it")
        assert len(left) == 1


async def test_a_connection_that_only_qemu_has_taken_fails() -> None:
    async with serving(silent) as port:
        ask, _ = monitor(table(port, "SYN_SENT", "ESTABLISHED"))
        verdict = await tcp.connect(f"127.0.0.1:{port}", 0.1, monitor=ask)
        assert verdict == Failed(f"127.0.0.1:{port} does not answer within 0.1 s")


async def test_a_connection_that_the_guest_refuses_fails() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(refuse) as port:
        ask, _ = monitor(table(port, "SYN_SENT"), table(port, "SYN_SENT"), table(port))
        verdict = await tcp.connect(f"127.0.0.1:{port}", 5, monitor=ask)
        assert verdict == Failed(
            f"127.0.0.1:{port}: the guest refuses the connection that QEMU forwards to it"
        )


async def test_a_port_that_qemu_does_not_forward_needs_no_look_behind_it() -> None:
    async with serving(silent) as port:
        ask, _ = monitor(HEAD)
        assert isinstance(await tcp.connect(f"127.0.0.1:{port}", 5, monitor=ask), Passed)


async def test_a_qemu_that_tells_nothing_says_nothing_of_the_guest() -> None:
    async def ask(_command: str) -> str:
        raise QmpLost("the session is over")

    verdict = await tcp.connect("127.0.0.1:1", 5, monitor=ask)
    assert verdict == Unable("QEMU does not tell of its network: the session is over")


def test_the_table_of_connections_is_read() -> None:
    text = HEAD + "  TCP[HOST_FORWARD]   3               *  8080       10.0.2.15    80     0     0\n"
    assert usernet.guest_port(text, 8080) == 80
    assert usernet.guest_port(text, 80) is None
    assert usernet.newest(text, 8080) is None
    assert usernet.newest(table(8080, "SYN_SENT", "ESTABLISHED"), 8080) == "SYN_SENT"
    assert list(usernet.rows("rubbish\n  TCP[\n UDP[236 sec] 5 10.0.2.15 1 2.2.2.2 53 0 0\n")) == []


# HTTP


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Passed("answers with 200 OK")),
        (b"HTTP/1.0 204 No Content\r\nA: b\r\n\r\n", Passed("answers with 204 No Content")),
        (b"HTTP/1.1 301 Gone \x1b[2J\r\nLocation: /\r\n\r\n", Passed("answers with 301 Gone \ufffd[2J")),
        (b"HTTP/1.1 200\n\n", Passed("answers with 200")),
        (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody", Passed("answers with 200 OK")),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Failed("answers with 404 Not Found")),
        (b"HTTP/1.1 503 \r\n\r\n", Failed("answers with 503")),
        (b"", Failed("hangs up without an answer")),
        (b"HTTP/1.1 200 OK\r\n", Failed("hangs up in the middle of its answer")),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Failed("answers with something that is not HTTP")),
        (b"HTTP/2.0 200 OK\r\n\r\n", Failed("answers with something that is not HTTP")),
        (b"HTTP/1.1 099 No\r\n\r\n", Failed("answers with something that is not HTTP")),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * (64 << 10), Failed("sends more than 32768 bytes before its page")),
        (b"HTTP/1.1 100 Go on\r\n\r\n" * 4000, Failed("sends more than 32768 bytes before its page")),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_the_status_of_an_answer_decides(answer: bytes, told: Verdict) -> None:
    async with serving(answers(answer)) as port:
        url = f"http://127.0.0.1:{port}/health"
        verdict = await http.get(url, 5)
    assert type(verdict) is type(told)
    assert str(verdict).replace(f"{url} ", "") == str(told)


async def test_the_head_may_come_byte_by_byte() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()

    async with serving(script) as port:
        assert isinstance(await http.get(f"http://127.0.0.1:{port}/", 5), Passed)


async def test_the_request_is_one_that_every_server_understands() -> None:
    requests: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with serving(script) as port:
        await http.get(f"http://127.0.0.1:{port}/a?b=c", 5)
    assert requests[0].startswith(f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())
    assert b"\r\nConnection: close\r\n" in requests[0]


async def test_a_server_without_an_answer_fails_at_the_deadline(closed_port: int) -> None:
    async with serving(silent) as port:
        url = f"http://127.0.0.1:{port}/"
        assert await http.get(url, 0.05) == Failed(f"{url} does not answer within 0.05 s")
    url = f"http://127.0.0.1:{closed_port}/"
    assert await http.get(url, 5) == Failed(f"{url}: Connection refused")


async def test_no_socket_is_left_open_when_a_check_is_cancelled() -> None:
    asked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        # The end of the stream says that the client has closed its socket.
        await reader.read()
        ended.set()

    ended = asyncio.Event()
    async with serving(script) as port:
        task = asyncio.ensure_future(http.get(f"http://127.0.0.1:{port}/", 60))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()


# Names


async def test_a_name_leads_to_where_somebody_answers() -> None:
    async with serving(answers(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        # The name has an address where nobody listens as well, on most hosts.
        assert isinstance(await http.get(f"http://localhost:{port}/", 5), Passed)


def no_such_name(host: str, *_: Any, flags: int = 0, **__: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_a_name_that_cannot_be_looked_up_says_nothing_of_the_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    url = "http://web1.example/"
    assert await http.get(url, 5) == Unable(f"{url}: Name or service not known")
    assert isinstance(await http.get(f"http://{'a' * 70}.example/", 5), Unable)


async def test_a_name_server_that_is_silent_holds_up_only_so_many_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()

    def slow(host: str, *_: Any, flags: int = 0, **__: Any) -> Any:
        if not flags:
            answer.wait(60)
        return no_such_name(host)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    checks = [asyncio.ensure_future(http.get("http://web1.example/", 60)) for _ in range(resolve.LOOKUPS)]
    await asyncio.sleep(0)
    late = await http.get("http://web1.example/", 60)
    assert late == Unable("http://web1.example/: 4 other names are being looked up already")
    checks[0].cancel()
    answer.set()
    done = await asyncio.gather(*checks, return_exceptions=True)
    assert [type(verdict) for verdict in done] == [asyncio.CancelledError, Unable, Unable, Unable]
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    assert await http.get("http://web1.example/", 5) == Unable(
        "http://web1.example/: Name or service not known"
    )

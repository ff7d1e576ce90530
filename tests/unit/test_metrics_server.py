"""The metrics over HTTP: one GET, and nothing that a client does costs anybody else anything."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import stat
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import QsupError
from qsup.metrics import server as serving
from qsup.metrics.http import Refusal, Request, parse, response
from qsup.metrics.server import CLIENTS, HEAD, Server
from qsup.spec.load import load
from qsup.spec.tables.metrics import Metrics

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 accepts."""


def head(first: str = "GET /metrics HTTP/1.1", **fields: str) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in ({"Host": "localhost"} | fields).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=0.0.1", True),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; version=1.0.0; q=0.000", False),
        ("application/openmetrics-text2", False),
        ("text/plain", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_the_format_is_the_one_that_is_accepted(accept: str, wanted: bool) -> None:
    assert parse(head(Accept=accept), local=True) == Request(wanted)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head("POST /metrics HTTP/1.1"), HTTPStatus.METHOD_NOT_ALLOWED),
        (head("HEAD /metrics HTTP/1.1"), HTTPStatus.METHOD_NOT_ALLOWED),
        (head("GET / HTTP/1.1"), HTTPStatus.NOT_FOUND),
        (head("GET /metrics/x HTTP/1.1"), HTTPStatus.NOT_FOUND),
        (head("GET /metrics HTTP/2.0"), HTTPStatus.BAD_REQUEST),
        (head("GET  /metrics HTTP/1.1"), HTTPStatus.BAD_REQUEST),
        (head("GET http://localhost/metrics HTTP/1.1"), HTTPStatus.BAD_REQUEST),
        (head("get /metrics HTTP/1.1"), HTTPStatus.BAD_REQUEST),
        (b"GET /metrics HTTP/1.1\r\nHost localhost\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /metrics HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /metrics HTTP/1.1\r\nA : b\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /metrics HTTP/1.1\r\nA: b\0\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /metrics HTTP/1.1\nHost: localhost\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (head(Host="evil.example"), HTTPStatus.MISDIRECTED_REQUEST),
        (head(Host="localhost.evil.example:9177"), HTTPStatus.MISDIRECTED_REQUEST),
        (head(Host="10.0.0.1:9177"), HTTPStatus.MISDIRECTED_REQUEST),
        (head(Host=""), HTTPStatus.MISDIRECTED_REQUEST),
    ],
)
def test_what_is_no_scrape_is_refused_with_the_reason(data: bytes, status: HTTPStatus) -> None:
    with pytest.raises(Refusal) as refused:
        parse(data, local=True)
    assert refused.value.status is status
    assert refused.value.response().startswith(f"HTTP/1.1 {status.value} ".encode())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9177", "127.0.0.1:9177", "127.1.2.3", "[::1]:9177"])
def test_this_host_is_reached_by_its_own_names(host: str) -> None:
    assert parse(head(Host=host), local=True)


def test_over_a_unix_socket_any_name_will_do() -> None:
    assert parse(head(Host="whatever"), local=False)
    assert parse(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", local=False)


@given(st.binary(max_size=300), st.booleans())
def test_no_head_does_more_than_be_refused(data: bytes, local: bool) -> None:
    with contextlib.suppress(Refusal):
        assert isinstance(parse(data + b"\r\n\r\n", local=local), Request)


def test_an_answer_is_whole() -> None:
    assert response(HTTPStatus.OK, "text/plain", b"x\n") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n"
        b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\nx\n"
    )


# Over sockets

BODY = b"# the metrics\n" * 200_000
"""More than a socket takes at once."""


async def answer(request: Request) -> tuple[str, bytes]:
    return ("open" if request.open_metrics else "plain"), BODY


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[str]:
    """The path of a socket at which metrics are served."""
    place = str(tmp_path / "m.sock")
    server = Server(Metrics(listen=f"unix:{place}"), answer)
    await server.start()
    yield place
    await server.close()
    assert not os.path.exists(place)
    assert asyncio.all_tasks() == {asyncio.current_task()}


Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(place: str) -> Client:
    return await asyncio.open_unix_connection(place)


async def ask(client: Client, data: bytes = head()) -> bytes:
    """What is answered, to the end of the connection."""
    reader, writer = client
    writer.write(data)
    async with asyncio.timeout(20):
        told = await reader.read()
    writer.close()
    return told


def status_of(told: bytes) -> int:
    return int(told.split(b" ")[1])


async def test_a_scrape_is_answered_in_full(path: str) -> None:
    top, _, body = (await ask(await connect(path), head(Accept=PROMETHEUS))).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: open\r\n")
    assert body == BODY


async def test_a_refusal_arrives(path: str) -> None:
    assert status_of(await ask(await connect(path), head("GET / HTTP/1.1"))) == HTTPStatus.NOT_FOUND


async def test_a_head_without_end_is_cut_off(path: str) -> None:
    told = await ask(await connect(path), b"GET /metrics HTTP/1.1\r\nA: " + b"x" * (2 * HEAD))
    assert status_of(told) == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


async def test_who_says_nothing_is_hung_up_on(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "ASKING", 0.05)
    reader, writer = await connect(path)
    writer.write(b"GET /metrics")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_who_does_not_read_is_hung_up_on(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "READING", 0.05)
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, path)
        await loop.sock_sendall(client, head())
        # Once the server has hung up, nothing can be sent to it any more.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async with asyncio.timeout(10):
                while True:
                    await loop.sock_sendall(client, b"x")
                    await asyncio.sleep(0.01)


async def test_who_goes_away_leaves_nothing_behind(path: str) -> None:
    reader, writer = await connect(path)
    writer.write(head())
    await reader.read(10)
    writer.transport.abort()
    assert status_of(await ask(await connect(path))) == HTTPStatus.OK


async def test_one_too_many_is_told_so_and_the_others_are_served(path: str) -> None:
    waiting = [await connect(path) for _ in range(CLIENTS)]
    for _, writer in waiting:
        writer.write(b"GET /metrics")
    # Those who came first are in the server's hands by the time that it has answered somebody else.
    while status_of(await ask(await connect(path))) != HTTPStatus.SERVICE_UNAVAILABLE:
        pass
    told = await asyncio.gather(*(ask(client, b" HTTP/1.1\r\n\r\n") for client in waiting))
    assert {status_of(one) for one in told} == {HTTPStatus.OK}
    assert status_of(await ask(await connect(path))) == HTTPStatus.OK


async def test_closing_waits_for_nobody(tmp_path: Path) -> None:
    place = str(tmp_path / "m.sock")

    async def never(_request: Request) -> tuple[str, bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    server = Server(Metrics(listen=f"unix:{place}"), never)
    await server.start()
    silent, asked = await connect(place), await connect(place)
    asked[1].write(head())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await server.close()
        for reader, writer in (silent, asked):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()


async def test_a_bug_in_an_answer_ends_that_connection_only(tmp_path: Path) -> None:
    place = str(tmp_path / "m.sock")
    told: list[Exception | tuple[str, bytes]] = [ZeroDivisionError(), ("plain", b"x")]

    async def odd(_request: Request) -> tuple[str, bytes]:
        made = told.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    server = Server(Metrics(listen=f"unix:{place}"), odd)
    await server.start()
    assert await ask(await connect(place)) == b""
    assert status_of(await ask(await connect(place))) == HTTPStatus.OK
    await server.close()


# Where it listens


async def test_a_unix_socket_is_for_its_owner_only(path: str) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


async def test_a_unix_socket_is_for_a_group_if_one_is_named(tmp_path: Path) -> None:
    mine = grp.getgrgid(os.getgroups()[0] if os.getgroups() else os.getgid())
    place = str(tmp_path / "m.sock")
    server = Server(Metrics(listen=f"unix:{place}", group=mine.gr_name), answer)
    await server.start()
    found = os.stat(place)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, mine.gr_gid)
    await server.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
async def test_a_port_is_served(address: str) -> None:
    family = socket.AF_INET6 if "[" in address else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((address.strip("[]"), 0))
        port = free.getsockname()[1]
    server = Server(Metrics(listen=f"{address}:{port}"), answer)
    await server.start()
    client = await asyncio.open_connection(address.strip("[]"), port)
    assert status_of(await ask(client, head(Host=f"{address}:{port}"))) == HTTPStatus.OK
    taken = Server(Metrics(listen=f"{address}:{port}"), answer)
    with pytest.raises(QsupError, match=r"cannot listen on .*: Address already in use"):
        await taken.start()
    await taken.close()
    await server.close()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"listen": "unix:/nowhere/m.sock"}, "cannot listen on /nowhere/m.sock: No such file or directory"),
        ({"listen": "unix:/etc/passwd"}, "something lies there that is no socket"),
        ({"listen": "unix:/tmp/x.sock", "group": "no-such-group"}, "there is no group no-such-group"),
    ],
)
async def test_a_place_that_cannot_be_is_told(where: dict[str, str], message: str) -> None:
    with pytest.raises(QsupError, match=message):
        await Server(Metrics(**where), answer).start()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('listen = "127.0.0.1:9177"', None),
        ('listen = "[::1]:9177"', None),
        ('listen = "unix:/run/qsup/metrics.sock"\ngroup = "prometheus"', None),
        ("", None),
        ('listen = "0.0.0.0:9177"', "0.0.0.0 can be reached by other hosts"),
        ('listen = "[::]:9177"', ":: can be reached by other hosts"),
        ('listen = "192.168.1.5:9177"', "192.168.1.5 can be reached by other hosts"),
        ('listen = "127.0.0.1:0"', "ports go from 1 to 65535"),
        ('listen = "127.0.0.1:70000"', "ports go from 1 to 65535"),
        ('listen = "127.0.0.999:1"', "is no IP address"),
        ('listen = "localhost:9177"', 'write "unix:/run/qsup/metrics.sock", or "127.0.0.1:9177"'),
        ('listen = "unix:metrics.sock"', 'write "unix:/run/qsup/metrics.sock", or "127.0.0.1:9177"'),
        ('listen = "127.0.0.1:9177"\ngroup = "x"', "is for a Unix socket only"),
        ('group = "x"', "needs listen"),
        ('listen = "unix:/x"\ngroup = "a b"', "the name of a group is"),
    ],
)
def test_the_table_is_checked(tmp_path: Path, text: str, message: str | None) -> None:
    (tmp_path / "qsup.toml").write_text(f"[metrics]\n{text}\n")
    found = load(tmp_path)
    if message is None:
        assert found.problems == ()
    else:
        (problem,) = found.problems
        assert message in problem.message
        assert problem.line is not None

"""A control server in front of a fake supervisor, and clients that say exactly what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from qsup.access.access import Access
from qsup.control.limits import Limits
from qsup.control.server import ControlServer
from tests.fakes.fake_history import FakeHistory
from tests.fakes.fake_supervisor import FakeAlerts, FakeSupervisor, stopped, view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LIMITS = Limits(clients=8, handshake=0.2, message=16384, pending=256 * 1024)


async def until(condition: Callable[[], bool]) -> None:
    """Let the server work until something is so that nobody announces."""
    loop = asyncio.get_running_loop()
    while not condition():
        turn = asyncio.Event()
        loop.call_soon(turn.set)
        await turn.wait()


class Client:
    """A client that writes what a test says and reads lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: str, *, negotiate: bool = True) -> Client:
        client = cls(*await asyncio.open_unix_connection(path, limit=1 << 20))
        if negotiate:
            assert "QMP" in await client.line()
            assert await client.ask("qmp_capabilities") == {"return": {}}
        return client

    async def line(self) -> Any:
        async with asyncio.timeout(5):
            return json.loads(await self.reader.readline() or b"null")

    async def ask(self, execute: str, /, **arguments: Any) -> Any:
        self.write({"execute": execute, "arguments": arguments})
        while "event" in (line := await self.line() or {}):
            pass
        return line

    def write(self, message: object) -> None:
        self.writer.write(message if isinstance(message, bytes) else json.dumps(message).encode())

    async def rest(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Bench:
    """A server, its fake supervisor, and clients that are closed at the end."""

    def __init__(
        self,
        path: str,
        server: ControlServer,
        guests: FakeSupervisor,
        history: FakeHistory,
        access: Access,
    ) -> None:
        self.path = path
        self.server = server
        self.guests = guests
        self.history = history
        self.access = access
        self._clients: list[Client] = []

    async def client(self, *, negotiate: bool = True) -> Client:
        client = await Client.connect(self.path, negotiate=negotiate)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self.server.close()


@contextlib.asynccontextmanager
async def running_bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Two running guests and a stopped one; at the end nothing of the server may be left."""
    guests = FakeSupervisor(view("web1"), view("web2"), stopped("db1"))
    history = FakeHistory()
    path = str(tmp_path / "control.sock")
    access = Access("/etc/qsup/qsup.toml")
    server = ControlServer(path, guests, FakeAlerts(), history, access, LIMITS)
    await server.start()
    bench = Bench(path, server, guests, history, access)
    yield bench
    await bench.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "the server left a task behind"
    assert not guests.bus.subscribers, "a connection left its subscription behind"

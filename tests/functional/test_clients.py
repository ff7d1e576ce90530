"""Clients of the real daemon that misbehave harm themselves only; those of QEMU's own project feel at home."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient
from qemu.qmp.qmp_client import ExecuteError

from tests.functional.harness import DEADLINE, IDLE, Site

CLIENTS = 64
NEGOTIATE = b'{"execute": "qmp_capabilities"}\n'


@pytest.fixture
async def here(empty: Site) -> AsyncIterator[Site]:
    """A site with the running guest ``idle``, which must not notice anything."""
    empty.guest("idle", IDLE)
    await empty.start()
    await empty.run("guest-start", name="idle")
    before = await empty.view("idle")
    yield empty
    assert await empty.view("idle") == before
    assert "Traceback" not in empty.log


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, here: Site) -> Raw:
        return cls(*await asyncio.open_unix_connection(here.socket))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(DEADLINE):
            message = json.loads(await self.reader.readline())
        assert isinstance(message, dict)
        return message

    async def rest(self) -> bytes:
        """All that comes until the daemon hangs up."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        try:
            async with asyncio.timeout(DEADLINE):
                await self.writer.drain()
        except ConnectionError:
            pass

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\xfe\x01\n",
        b"[1, 2]\n",
        b"{]\n",
        b'{"execute": 7}\n',
        b"[" * 5000 + b"\n",
    ],
)
async def test_garbage_is_answered_with_an_error(garbage: bytes, here: Site) -> None:
    client = await Raw.connect(here)
    assert "QMP" in await client.hear()
    await client.send(garbage)
    assert (await client.hear())["error"]["class"] == "GenericError"
    await client.close()


async def test_a_huge_line_ends_its_connection_only(here: Site) -> None:
    client = await Raw.connect(here)
    await client.hear()
    await client.send(NEGOTIATE)
    await client.hear()
    await client.send(b'{"execute": "' + b"x" * (2 << 20))
    told = await client.rest()
    assert b"error" in told or not told, "a reset may overtake the message"
    await client.close()


async def test_half_a_line_and_an_end_is_no_command(here: Site) -> None:
    client = await Raw.connect(here)
    await client.hear()
    await client.send(NEGOTIATE + b'{"execute": "guest-kill", "arguments": {"name": "idle"')
    client.writer.write_eof()
    assert await client.rest() == b'{"return":{}}\r\n'
    await client.close()


async def test_a_client_that_never_reads_is_dropped_and_holds_up_nobody(here: Site) -> None:
    client = await Raw.connect(here)
    await client.hear()
    await client.send(NEGOTIATE)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport as well
    # So many problems make each reload an event of some 40 kB.
    bad = [f"bad{number}" for number in range(8)]
    for name in bad:
        here.guest(name, "".join(f"{'key' * 20}{number} = 0\n" for number in range(50)))
    length = 0
    for _ in range(60):
        length += len(json.dumps(await here.run("reload-config")))
    assert length > 2 << 20
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    assert len(await client.rest()) < length, "the connection ended before all had come"
    await client.close()
    for name in bad:
        (here.config / f"guests/{name}.toml").unlink()
    await here.run("reload-config")


async def test_the_client_after_the_last_is_told_so_and_a_place_that_is_free_is_given_again(
    here: Site,
) -> None:
    clients = [await Raw.connect(here) for _ in range(70)]
    greetings = [await client.hear() for client in clients]
    # One place is the test's own client's.
    assert [index for index, said in enumerate(greetings) if "error" in said] == list(range(CLIENTS - 1, 70))
    assert "64 clients already" in greetings[-1]["error"]["desc"]
    assert (await here.view("idle"))["phase"] == "running"
    for client in clients:
        await client.close()
    # The places are free once the daemon has seen the ends, of which nothing tells.
    async with asyncio.timeout(DEADLINE):
        while (await here.cli("list"))[0] != 0:
            pass


async def test_a_client_that_goes_while_it_waits_leaves_the_deed_to_the_daemon(here: Site) -> None:
    here.guest("other", IDLE)
    await here.run("reload-config")
    client = await Raw.connect(here)
    await client.send(NEGOTIATE + b'{"execute": "guest-start", "arguments": {"name": "other"}}\n')
    await here.phase("other", "starting", "running")
    client.writer.transport.abort()
    await here.phase("other", "running")


async def test_qmp_client_drives_the_daemon(here: Site) -> None:
    client = QMPClient("driver")
    with client.listener(("GUEST_PHASE",)) as events:
        await client.connect(str(here.socket))
        assert client.greeting is not None
        here.guest("other", IDLE)
        await client.execute("reload-config")
        outcome = await client.execute("guest-start", {"name": "other"})
        assert isinstance(outcome, dict)
        assert (outcome["name"], outcome["done"]) == ("other", True)
        seen = [(await events.get())["data"]["phase"] for _ in range(2)]  # type: ignore[index]  # an object
        assert seen == ["starting", "running"]
        with pytest.raises(ExecuteError, match="there is no guest nobody") as failure:
            await client.execute("guest-start", {"name": "nobody"})
        assert failure.value.error_class == "GuestNotFound"
        with pytest.raises(ExecuteError) as failure:
            await client.execute("no-such-command")
        assert failure.value.error_class == "CommandNotFound"
    await client.disconnect()


async def test_qmp_shell_drives_the_daemon(here: Site, tmp_path: Path) -> None:
    shell = Path(sys.executable).with_name("qmp-shell")
    if not shell.exists():
        pytest.skip(f"{shell} is not installed; it comes with qemu.qmp")
    process = await asyncio.create_subprocess_exec(
        str(shell), str(here.socket),
        env={**os.environ, "HOME": str(tmp_path)}, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    typed = (
        b"query-guest name=idle\nguest-qmp name=idle command=query-status\nguest-start name=nobody\nquit\n"
    )
    async with asyncio.timeout(DEADLINE):
        out, _ = await process.communicate(typed)
    text = out.decode()
    assert f'"pid": {(await here.view("idle"))["pid"]}' in text, text
    assert '"status": "running"' in text, text
    assert "GuestNotFound" in text, text

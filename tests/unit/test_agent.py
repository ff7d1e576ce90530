"""The guest agent's channel, with an agent that misbehaves, and with the real one where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from qsup.errors import QmpBusy, QmpError, QmpGarbled, QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp import agent
from qsup.qmp.agent import Agent, Ended, agent_execute

if TYPE_CHECKING:
    from pathlib import Path

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(directory: Path, script: Script) -> AsyncIterator[None]:
    """An agent at ``agent.sock`` that does what the script says."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(serve, directory / "agent.sock")
    try:
        yield
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


async def synchronise(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, before: bytes = b""
) -> None:
    assert await reader.readexactly(1) == b"\xff"
    sync = json.loads(await reader.readline())
    number = sync["arguments"]["id"]
    writer.write(before + b'\xff{"return": %d}\n' % number)


async def ask(directory: Path, command: str = "guest-ping", *, expect_reply: bool = True) -> object:
    return await agent_execute(directory, "agent.sock", command, {}, deadline=1, expect_reply=expect_reply)


async def test_what_is_left_of_an_earlier_conversation_is_skipped(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rubbish = (
            b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n\xff{"return": 999999}\n'
        )
        await synchronise(reader, writer, before=rubbish)
        assert json.loads(await reader.readline())["execute"] == "guest-ping"
        writer.write(b'{"return": {"alive": true}}\n')
        await reader.read()

    async with serving(tmp_path, script):
        assert await ask(tmp_path) == {"alive": True}


async def test_a_refusal_is_told(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        await reader.readline()
        writer.write(b'{"error": {"class": "CommandNotFound", "desc": "disabled\\u001b[2J"}}\n')
        await reader.read()

    async with serving(tmp_path, script):
        for expect_reply in (True, False):
            with pytest.raises(QmpRefused) as caught:
                await ask(tmp_path, "guest-shutdown", expect_reply=expect_reply)
            assert str(caught.value).isprintable()


async def test_silence_after_a_command_without_an_answer_is_consent(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        await reader.read()

    async with serving(tmp_path, script):
        assert await ask(tmp_path, "guest-shutdown", expect_reply=False) is None


async def test_nobody_at_the_other_end_is_unanswered(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(tmp_path, script):
        with pytest.raises(QmpUnanswered, match=r"no guest agent answers guest-ping within 0\.05 s"):
            await agent_execute(tmp_path, "agent.sock", "guest-ping", {}, deadline=0.05)
    with pytest.raises(QmpLost, match="nobody listens"):
        await ask(tmp_path)


async def test_an_endless_answer_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "ANSWER_LIMIT", 100_000)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(tmp_path, script):
        with pytest.raises(QmpLost, match="more than 100000 bytes"):
            await ask(tmp_path)


async def test_endless_answers_to_somebody_else_are_cut(tmp_path: Path) -> None:
    """Each is short and well formed, and the next is always there: nothing but the count of bytes ends it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b'\xff{"return": -1}\n' * 4096)
            await writer.drain()

    async with serving(tmp_path, script):
        with pytest.raises(QmpLost, match="more than 4194304 bytes"):
            await agent_execute(tmp_path, "agent.sock", "guest-ping", {}, deadline=60, expect_reply=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"error": 7}\n',
        b'{"error": {"desc": 7}}\n',
        b"[" * 5000 + b"\n",
        b"\xff\xfe\n",
    ],
)
async def test_an_answer_that_is_none_is_told_as_such(answer: bytes, tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        await reader.readline()
        writer.write(answer)
        await reader.read()

    async with serving(tmp_path, script):
        with pytest.raises(QmpLost, match="no answer"):
            await ask(tmp_path)


async def test_a_guest_that_goes_down_with_its_channel_has_taken_the_command(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        await reader.readline()

    async with serving(tmp_path, script):
        assert await ask(tmp_path, "guest-shutdown", expect_reply=False) is None
        with pytest.raises(QmpLost, match="was closed"):
            await ask(tmp_path)


def answering(*answers: bytes) -> tuple[Script, list[str]]:
    """An agent that gives one of the answers to each command, then falls silent; and the commands it was given."""
    left, asked = list(answers), list[str]()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        asked.append(json.loads(await reader.readline())["execute"])
        if left:
            writer.write(left.pop(0))
        await reader.read()

    return script, asked


async def test_conversations_come_one_after_the_other(tmp_path: Path) -> None:
    open_now, most = 0, 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await synchronise(reader, writer)
        await reader.readline()
        open_now -= 1
        writer.write(b'{"return": {}}\n')

    async with serving(tmp_path, script):
        one = Agent(tmp_path, "agent.sock")
        await asyncio.gather(*(one.ping(5) for _ in range(10)))
    assert most == 1


async def test_what_is_urgent_ends_the_others_and_comes_at_once(tmp_path: Path) -> None:
    silent = asyncio.Event()
    asked: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        asked.append(json.loads(await reader.readline())["execute"])
        if asked[-1] == "guest-ping":
            silent.set()
        else:
            writer.write(b'{"return": {}}\n')
        await reader.read()

    async with serving(tmp_path, script):
        one = Agent(tmp_path, "agent.sock")
        talks, waits = (asyncio.ensure_future(one.ping(60)) for _ in range(2))
        await silent.wait()
        shutdown = asyncio.ensure_future(one.execute("guest-shutdown", {}, urgent=True))
        await asyncio.sleep(0)
        with pytest.raises(QmpBusy, match="more urgent"):
            await one.ping(60)
        assert await shutdown == {}
        for check in (talks, waits):
            with pytest.raises(QmpBusy, match="others ask it as well"):
                await check
        assert asked == ["guest-ping", "guest-shutdown"]
        # Whoever comes afterwards is served again.
        assert await one.execute("guest-info", {}) == {}


async def test_who_spends_the_deadline_in_line_is_told_that_the_agent_is_busy(tmp_path: Path) -> None:
    script, asked = answering()
    async with serving(tmp_path, script):
        one = Agent(tmp_path, "agent.sock")
        talks = asyncio.ensure_future(one.ping(0.3))
        await asyncio.sleep(0)
        with pytest.raises(QmpBusy):
            await one.ping(0.01)
        with pytest.raises(QmpUnanswered, match=r"guest-ping within 0\.3 s"):
            await talks
    assert asked == ["guest-ping"]


async def test_a_conversation_that_is_cancelled_leaves_the_line_free(tmp_path: Path) -> None:
    script, _ = answering(b'{"return": {}}\n')
    async with serving(tmp_path, script):
        one = Agent(tmp_path, "agent.sock")
        first = asyncio.ensure_future(one.ping(60))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await one.ping(5)


async def test_a_program_is_started_and_its_end_is_told(tmp_path: Path) -> None:
    script, asked = answering(
        b'{"return": {"pid": 7}}\n',
        b'{"return": {"exited": false}}\n',
        b'{"return": {"exited": true, "exitcode": 3}}\n',
        b'{"return": {"exited": true, "signal": 9}}\n',
    )
    async with serving(tmp_path, script):
        one = Agent(tmp_path, "agent.sock")
        assert await one.start(["/bin/true"], 5) == 7
        assert await one.ended(7, 5) == Ended(exited=False)
        assert await one.ended(7, 5) == Ended(exited=True, status=3)
        assert await one.ended(7, 5) == Ended(exited=True, signal=9)
    assert asked == ["guest-exec", "guest-exec-status", "guest-exec-status", "guest-exec-status"]


@pytest.mark.parametrize("answer", [b'{"return": {}}\n', b'{"return": 7}\n', b'{"return": {"pid": "7"}}\n'])
async def test_an_answer_of_another_shape_is_garbled(answer: bytes, tmp_path: Path) -> None:
    script, _ = answering(answer)
    async with serving(tmp_path, script):
        with pytest.raises(QmpGarbled, match="no answer"):
            await Agent(tmp_path, "agent.sock").start(["/bin/true"], 5)


@pytest.mark.skipif(
    shutil.which("qemu-ga") is None, reason="qemu-ga is not installed (Debian: qemu-guest-agent)"
)
async def test_the_real_agent_answers(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "qemu-ga", "--method", "unix-listen", "--path", str(tmp_path / "agent.sock"), "--statedir", str(tmp_path),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(QmpError):
                    assert await ask(tmp_path) == {}
                    break
                await asyncio.sleep(0)
        info = await ask(tmp_path, "guest-info")
        assert isinstance(info, dict)
        assert "version" in info
    finally:
        process.kill()
        await process.wait()

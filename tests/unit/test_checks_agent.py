"""Asking a guest through its agent, with agents that are slow, stuck, sick or wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qsup.checks import agent as module
from qsup.checks.agent import Exec, ping
from qsup.checks.verdict import Failed, Passed, Unable, Verdict
from qsup.qmp.agent import Agent
from tests.unit.test_agent import Script, answering, serving, synchronise

STARTED = b'{"return": {"pid": 7}}\n'
RUNS = b'{"return": {"exited": false}}\n'


def ended(how: str) -> bytes:
    return b'{"return": {"exited": true%s}}\n' % how.encode()


def error(text: str, kind: str = "GenericError") -> bytes:
    return b'{"error": {"class": "%s", "desc": "%s"}}\n' % (kind.encode(), text.encode())


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON", 0.001)


def every(answer: Callable[[str], bytes]) -> Script:
    """An agent that answers each command as the function says."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await synchronise(reader, writer)
        writer.write(answer(json.loads(await reader.readline())["execute"]))
        await reader.read()

    return script


async def run(directory: Path, *answers: bytes, deadline: float = 5.0) -> Verdict:
    script, _ = answering(*answers)
    async with serving(directory, script):
        return await Exec(Agent(directory, "agent.sock"), ["/bin/check", "-x"]).run(deadline)


async def pinged(directory: Path, script: Script, deadline: float = 5.0) -> Verdict:
    async with serving(directory, script):
        return await ping(Agent(directory, "agent.sock"), deadline)


async def test_an_agent_that_answers_passes(tmp_path: Path) -> None:
    script, asked = answering(b'{"return": {}}\n')
    assert await pinged(tmp_path, script) == Passed("the guest agent answers")
    assert asked == ["guest-ping"]


async def test_an_agent_that_is_silent_or_talks_nonsense_fails(tmp_path: Path) -> None:
    silent, _ = answering()
    assert await pinged(tmp_path, silent, 0.05) == Failed("no guest agent answers guest-ping within 0.05 s")
    garbled, _ = answering(b"nonsense\n")
    (tmp_path / "other").mkdir()
    told = Failed("the guest agent sent something that is no answer")
    assert await pinged(tmp_path / "other", garbled) == told


async def test_a_ping_that_is_forbidden_says_nothing(tmp_path: Path) -> None:
    script, _ = answering(error("Command guest-ping has been disabled", "CommandNotFound"))
    told = Unable("the guest agent: Command guest-ping has been disabled")
    assert await pinged(tmp_path, script) == told


async def test_a_channel_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    verdict = await ping(Agent(tmp_path, "agent.sock"), 5)
    assert isinstance(verdict, Unable)
    assert "nobody listens" in verdict.why


async def test_an_agent_that_others_need_says_nothing(tmp_path: Path) -> None:
    talks = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.set()
        await reader.read()

    async with serving(tmp_path, script):
        agent = Agent(tmp_path, "agent.sock")
        check = asyncio.ensure_future(ping(agent, 60))
        await talks.wait()
        urgent = asyncio.ensure_future(agent.execute("guest-shutdown", {}, urgent=True, deadline=60))
        assert await check == Unable("the guest agent had no time for guest-ping, others ask it as well")
        urgent.cancel()


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((STARTED, ended(', "exitcode": 0')), Passed("/bin/check exited with 0")),
        ((STARTED, RUNS, RUNS, ended(', "exitcode": 0')), Passed("/bin/check exited with 0")),
        ((STARTED, ended(', "exitcode": 2')), Failed("/bin/check exited with 2")),
        ((STARTED, ended(', "signal": 9')), Failed("/bin/check was killed by signal 9")),
        ((STARTED, ended("")), Unable("the guest agent does not tell how /bin/check has ended")),
        ((b'{"return": {}}\n',), Failed("the guest agent sent something that is no answer")),
        (
            (error("Command guest-exec has been disabled", "CommandNotFound"),),
            Unable("the guest agent: Command guest-exec has been disabled"),
        ),
        (
            (error("Guest agent command failed, error was 'No such file or directory'"),),
            Unable("the guest agent: Guest agent command failed, error was 'No such file or directory'"),
        ),
        (
            (error("Failed to fork child process (Cannot allocate memory)"),),
            Failed("the guest agent: Failed to fork child process (Cannot allocate memory)"),
        ),
    ],
)
async def test_the_end_of_the_program_decides(
    answers: tuple[bytes, ...], told: Verdict, tmp_path: Path
) -> None:
    assert await run(tmp_path, *answers) == told


async def test_a_program_that_takes_too_long_fails_and_is_not_started_once_more(tmp_path: Path) -> None:
    release = asyncio.Event()
    asked: list[str] = []

    def answer(command: str) -> bytes:
        asked.append(command)
        if command == "guest-exec":
            return STARTED
        return ended(', "exitcode": 0') if release.is_set() else RUNS

    async with serving(tmp_path, every(answer)):
        check = Exec(Agent(tmp_path, "agent.sock"), ["/bin/check"])
        assert await check.run(0.5) == Failed("/bin/check takes longer than 0.5 s")
        assert await check.run(5) == Failed("/bin/check still runs, since an earlier check")
        assert asked.count("guest-exec") == 1
        release.set()
        assert await check.run(5) == Passed("/bin/check exited with 0")
        assert asked.count("guest-exec") == 2


async def test_an_agent_that_has_forgotten_the_program_is_asked_for_a_new_one(tmp_path: Path) -> None:
    anew = asyncio.Event()
    asked: list[str] = []

    def answer(command: str) -> bytes:
        asked.append(command)
        if command == "guest-exec":
            return STARTED
        if not anew.is_set():
            return RUNS
        return error("Invalid parameter 'pid'") if len(asked) == 1 else ended(', "exitcode": 0')

    async with serving(tmp_path, every(answer)):
        check = Exec(Agent(tmp_path, "agent.sock"), ["/bin/check"])
        assert await check.run(0.5) == Failed("/bin/check takes longer than 0.5 s")
        anew.set()
        asked.clear()
        assert await check.run(5) == Passed("/bin/check exited with 0")
        assert asked == ["guest-exec-status", "guest-exec", "guest-exec-status"]

"""What an operator has QEMU do is no hang as long as it lasts, and not longer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qsup import clock
from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.guest import operations as module
from qsup.guest.operations import Operations, kind, over


class Session:
    """Answers what a test has put there; a question to which there is nothing yet has no answer."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def execute(
        self, command: str, arguments: dict[str, Any] | None = None, *, deadline: float | None = None
    ) -> Any:
        self.asked.put_nowait(command)
        await asyncio.sleep(0)
        answers = self.answers.get(command, [])
        answer = answers.pop(0) if len(answers) > 1 else answers[0] if answers else QmpUnanswered("silence")
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    """Operations, and the tasks that they begin."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.changes = 0
        self.session = Session()
        self.operations = Operations(lambda deed: self.tasks.append(asyncio.create_task(deed)), self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def do(self, command: str, **arguments: Any) -> Any:
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        return await self.operations.execute(self.session, command, arguments, None)

    async def over(self) -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*self.tasks)
        assert self.operations.current() is None


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    return Bench()


@pytest.mark.parametrize(
    ("command", "line", "what"),
    [
        ("snapshot-save", "", "snapshot"),
        ("dump-guest-memory", "", "memory dump"),
        ("migrate", "", "migration"),
        ("human-monitor-command", "savevm before", "snapshot"),
        ("human-monitor-command", "info status", None),
        ("human-monitor-command", "  ", None),
        ("query-status", "", None),
    ],
)
def test_it_is_known_by_the_command(command: str, line: str, what: str | None) -> None:
    assert kind(command, {"command-line": line} if line else {}) == what


@pytest.mark.parametrize(
    ("what", "answer", "is_over"),
    [
        ("snapshot", [{"id": "s", "status": "running"}], False),
        ("snapshot", [{"id": "s", "status": "concluded"}, {"id": "t", "status": "running"}], True),
        ("snapshot", [], True),
        ("snapshot", "nonsense", True),
        ("migration", {"status": "active"}, False),
        ("migration", {}, True),
        ("migration", {"status": "completed"}, True),
        ("memory dump", {"status": "active"}, False),
        ("memory dump", {"status": "completed"}, True),
        ("memory dump", 7, True),
    ],
)
def test_qemu_tells_whether_it_is_over(what: str, answer: object, *, is_over: bool) -> None:
    assert over(what, "s", answer) is is_over


async def test_a_job_counts_until_it_is_over(bench: Bench) -> None:
    running, done = [{"id": "s", "status": "running"}], [{"id": "s", "status": "concluded"}]
    bench.session.answers = {"snapshot-save": [{}], "query-jobs": [running, QmpUnanswered("silence"), done]}
    assert await bench.do("snapshot-save", job_id="s") == {}
    assert bench.operations.current() == "snapshot"
    await bench.over()
    assert bench.changes == 2


async def test_a_command_that_nobody_waits_for_any_more_counts_until_qemu_answers(bench: Bench) -> None:
    with pytest.raises(QmpUnanswered):
        await bench.do("human-monitor-command", command_line="savevm before")
    assert bench.operations.current() == "snapshot"
    await bench.session.asked.get()
    bench.session.answers = {"query-jobs": [[]]}
    await bench.over()


async def test_what_is_refused_or_lost_does_not_count(bench: Bench) -> None:
    bench.session.answers = {"migrate": [QmpRefused("no", "GenericError")]}
    with pytest.raises(QmpRefused):
        await bench.do("migrate", uri="nowhere")
    assert bench.operations.current() is None
    bench.session.answers = {"migrate": [{}], "query-migrate": [QmpLost("gone")]}
    await bench.do("migrate", uri="somewhere")
    await bench.over()


async def test_nothing_is_put_down_to_it_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.session.answers = {"migrate": [{}], "query-migrate": [{"status": "active"}]}
    await bench.do("migrate", uri="somewhere")
    assert bench.operations.current() == "migration"
    later = clock.now() + module.MOST + 1
    monkeypatch.setattr(clock, "now", lambda: later)
    assert bench.operations.current() is None
    for task in bench.tasks:
        task.cancel()
    await asyncio.gather(*bench.tasks, return_exceptions=True)


async def test_file_systems_are_frozen_until_they_are_thawed_or_another_machine_runs(bench: Bench) -> None:
    operations = bench.operations
    seen = []
    for end in ("guest-info", "guest-fsfreeze-thaw"):
        operations.asked_agent("guest-fsfreeze-freeze")
        operations.asked_agent(end)
        seen.append(operations.frozen)
    operations.asked_agent("guest-fsfreeze-freeze")
    operations.begin_run()
    assert [*seen, operations.frozen] == [True, False, False]

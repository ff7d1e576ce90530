"""The QMP session with the real QEMU: what the fakes are taken for, and what only a process can do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from qsup import endpoint
from qsup.errors import QmpLost, QmpRefused, QmpUnanswered
from qsup.qmp.session import QmpEvent, QmpSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SOON = 0.5
"""Seconds for what takes milliseconds, on a loaded machine."""


class Real:
    """A QEMU without a machine, and a session with it that writes down what it tells."""

    def __init__(self, command: list[str], fd: int) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[fd])
        self.told: list[str] = []
        self.lost: list[str] = []
        self.ended = asyncio.Event()
        self.qmp: QmpSession

    def on_event(self, event: QmpEvent) -> None:
        assert event.at is not None
        assert abs(event.at - time.time()) < 60
        self.told.append(event.name)

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.ended.set()

    async def execute(self, command: str) -> None:
        await self.qmp.execute(command)
        self.told.append(command)


@pytest.fixture
async def real(tmp_path: Path, qemu_binary: str) -> AsyncIterator[Real]:
    # The path is longer than a Unix address, and QEMU gets the listener only: as the supervisor does it.
    run_dir = tmp_path / ("d" * 100)
    run_dir.mkdir()
    with endpoint.listen(run_dir, "qmp.sock") as listener:
        sock = await endpoint.connect(run_dir, "qmp.sock")
        options = ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"]
        chardev = f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off"
        made = Real(
            [qemu_binary, *options, "-chardev", chardev, "-mon", "chardev=qmp,mode=control"],
            listener.fileno(),
        )
    with made.process:
        try:
            made.qmp = await QmpSession.connect(
                sock, on_event=made.on_event, on_lost=made.on_lost, deadline=30
            )
            yield made
            await made.qmp.close()
        finally:
            made.process.kill()
    assert len(made.lost) <= 1


async def test_it_greets_with_its_version_and_answers(real: Real) -> None:
    assert (await real.qmp.execute("query-status"))["status"] == "running"
    version = (await real.qmp.execute("query-version"))["qemu"]
    assert real.qmp.version == f"{version['major']}.{version['minor']}.{version['micro']}"


async def test_its_refusals_carry_its_class(real: Real) -> None:
    with pytest.raises(QmpRefused, match="not been found") as caught:
        await real.qmp.execute("no-such-command")
    assert caught.value.qmp_class == "CommandNotFound"


async def test_events_and_answers_come_in_order(real: Real) -> None:
    for command in ("stop", "cont", "stop"):
        await real.execute(command)
    assert real.told == ["STOP", "stop", "RESUME", "cont", "STOP", "stop"]


async def test_its_largest_answer_passes(real: Real) -> None:
    schema = await real.qmp.execute("query-qmp-schema")
    assert any(entry["name"] == "query-status" for entry in schema)


async def test_it_takes_commands_out_of_band(real: Real) -> None:
    assert await real.qmp.execute("query-yank", oob=True) == [{"type": "chardev", "id": "qmp"}]


async def test_quit_is_answered_and_the_end_is_told_once(real: Real) -> None:
    await real.execute("quit")
    await real.ended.wait()
    assert real.process.wait() == 0
    assert sorted(real.told) == ["SHUTDOWN", "quit"]
    assert real.lost == ["the connection was closed"]


async def test_a_kill_is_told_once_and_ends_what_waits(real: Real) -> None:
    real.process.kill()
    with contextlib.suppress(QmpLost):
        while True:
            await real.qmp.execute("query-status")
    await real.ended.wait()
    assert len(real.lost) == 1
    assert real.told == []


async def test_a_termination_is_announced_before_the_end(real: Real) -> None:
    # No command meanwhile: one that arrives while QEMU 7.2 shuts down can make it hang instead of exiting.
    real.process.terminate()
    await real.ended.wait()
    assert real.process.wait() == 0
    assert real.told == ["SHUTDOWN"]
    assert real.lost == ["the connection was closed"]


async def test_a_stopped_process_does_not_answer_and_is_hung_up_on_at_once(real: Real) -> None:
    real.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(QmpUnanswered, match="did not answer query-status"):
        await real.qmp.execute("query-status", deadline=0.1)
    assert 0.1 <= time.monotonic() - began < SOON
    # Enough to fill the socket: a flush would wait for the process to go on.
    text = "x" * 200_000
    stuck = [asyncio.ensure_future(real.qmp.execute("no-such-command", {"x": text})) for _ in range(7)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await real.qmp.close()
    assert time.monotonic() - began < SOON
    results = await asyncio.gather(*stuck, return_exceptions=True)
    assert {type(result) for result in results} == {QmpLost}
    assert real.lost == []


async def test_a_session_can_follow_on_another(real: Real, tmp_path: Path) -> None:
    await real.qmp.close()
    sock = await endpoint.connect(tmp_path / ("d" * 100), "qmp.sock")
    real.qmp = await QmpSession.connect(sock, on_event=real.on_event, on_lost=real.on_lost)
    await real.execute("stop")
    assert real.told == ["STOP", "stop"]

"""The fake QEMU does what its docstring says: other tests rely on it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsup import endpoint
from qsup.errors import QmpLost, QmpUnanswered
from qsup.qmp.session import QmpEvent, QmpSession
from tests.fakes import fake_qemu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def started(directory: Path, modes: str) -> Iterator[subprocess.Popen[bytes]]:
    program = fake_qemu.install(directory, modes)
    with endpoint.listen(directory, "qmp.sock") as listener:
        chardev = f"socket,id=qsup-0123456789abcdef,fd={listener.fileno()},server=on,wait=off"
        process = subprocess.Popen(
            [program, "-S", "-chardev", chardev], pass_fds=[listener.fileno()], stderr=subprocess.PIPE
        )
    with process:
        yield process
        process.kill()


class Talk:
    """A session and what came of it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self, directory: Path, deadline: float = 10.0) -> QmpSession:
        sock = await endpoint.connect(directory, "qmp.sock")
        return await QmpSession.connect(
            sock, on_event=self.hear, on_lost=self.lost.set_result, deadline=deadline
        )

    def hear(self, event: QmpEvent) -> None:
        self.events.append(event.name)


async def test_it_behaves_as_a_qemu(tmp_path: Path) -> None:
    talk = Talk()
    with started(tmp_path, "") as process:
        qmp = await talk.open(tmp_path)
        assert (await qmp.execute("query-status"))["status"] == "prelaunch"
        for command in ("cont", "stop", "system_powerdown", "quit"):
            await qmp.execute(command)
        await talk.lost
        assert process.wait() == 0
        await qmp.close()
    assert talk.events == ["RESUME", "STOP", "POWERDOWN", "SHUTDOWN"]


@pytest.mark.parametrize("modes", ["silent", "mute"])
async def test_it_can_keep_silent(modes: str, tmp_path: Path) -> None:
    with started(tmp_path, modes), pytest.raises(QmpUnanswered):
        await Talk().open(tmp_path, deadline=0.3)


async def test_it_can_hang_and_ignore_sigterm_until_it_is_killed(tmp_path: Path) -> None:
    with started(tmp_path, "hang ignore-sigterm") as process:
        qmp = await Talk().open(tmp_path)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(QmpUnanswered):
            await qmp.execute("query-status", deadline=0.05)
        assert process.poll() is None
        await qmp.close()


async def test_it_ends_at_sigterm_with_its_last_words(tmp_path: Path) -> None:
    talk = Talk()
    with started(tmp_path, "status=io-error ignore-quit") as process:
        qmp = await talk.open(tmp_path)
        await qmp.execute("quit")
        assert (await qmp.execute("query-status"))["status"] == "io-error"
        process.terminate()
        await talk.lost
        assert process.wait() == 0
        await qmp.close()
    assert talk.events == ["SHUTDOWN"]


async def test_it_can_exit_early_or_send_what_is_not_qmp(tmp_path: Path) -> None:
    with started(tmp_path, "exit=3") as process:
        assert process.wait() == 3
        assert process.stderr is not None
        assert b"as told" in process.stderr.read()
    (tmp_path / "qmp.sock").unlink()
    with started(tmp_path, "exit-greeted=4") as process:
        with pytest.raises(QmpLost):
            await Talk().open(tmp_path)
        assert process.wait() == 4
    (tmp_path / "qmp.sock").unlink()
    talk = Talk()
    with started(tmp_path, "garbage"):
        try:
            qmp = await talk.open(tmp_path)
        except QmpLost as error:
            why = str(error)  # It came together with the end of the handshake.
        else:
            why = await talk.lost
            await qmp.close()
        assert why.endswith("it sent something that is not JSON")


def test_it_can_flood_its_stderr(tmp_path: Path) -> None:
    with started(tmp_path, "flood-stderr") as process:
        assert process.stderr is not None
        assert len(process.stderr.read(1 << 20)) == 1 << 20


async def test_it_can_flood_with_events(tmp_path: Path) -> None:
    talk = Talk()
    with started(tmp_path, "flood-events"):
        qmp = await talk.open(tmp_path)
        with pytest.raises(QmpUnanswered):
            await qmp.execute("query-status", deadline=0.1)
        assert set(talk.events) == {"RTC_CHANGE"}
        await qmp.close()

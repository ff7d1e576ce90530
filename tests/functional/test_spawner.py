"""A daemon whose processes a spawner starts, as the units have it: nothing is lost, whichever of the two goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qsup.endpoint import bind
from qsup.spawn import here
from qsup.spawn.order import Born, Order
from qsup.spawn.server import Spawner
from qsup.spawn.spawn import SPAWNER
from tests.functional.harness import HEARTBEAT, IDLE, Site, alive, killed
from tests.spawner import spawner


class Lossy(Spawner):
    """A spawner that is gone when it should tell of the first QEMU that runs a guest."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener)
        self.lost: Born | None = None

    def _spawn(self, line: socket.socket, order: Order, fds: list[int]) -> None:
        if self.lost is None and any(word.startswith("socket,id=qsup-") for word in order.argv):
            self.lost = here.spawn(order, fds)
        else:
            super()._spawn(line, order, fds)


STAYS = f'{IDLE}[restart]\npolicy = "never"\n'


class Spawners:
    """The spawner of a site, and those that follow it."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._stack = ExitStack()
        self.pid = 0

    def start(self) -> None:
        """Have one run."""
        self.pid = self._stack.enter_context(spawner(self._path)).pid

    def kill(self) -> None:
        """kill -9."""
        self._stack.close()


@pytest.fixture
def spawners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawners]:
    """A spawner that every daemon of the test finds."""
    path = tmp_path / "spawn.sock"
    monkeypatch.setenv(SPAWNER, str(path))
    made = Spawners(path)
    made.start()
    yield made
    made.kill()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_all_that_a_guest_needs_is_the_spawners_child_and_runs_as_usual(
    spawners: Spawners, empty: Site, heartbeat_image: Path
) -> None:
    helpers = "[tpm]\nenabled = true\n" if shutil.which("swtpm") else ""
    made = f'[disk.made]\nfile = "{empty.root}/made.qcow2"\nformat = "qcow2"\ncreate = "1 MiB"\n'
    empty.guest(
        "heart", HEARTBEAT.format(image=heartbeat_image).replace("[serial", f"{helpers}{made}[serial")
    )
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    view = await empty.view("heart")
    assert {parent(pid) for pid in (view["pid"], *view["helpers"].values())} == {spawners.pid}
    assert len(view["helpers"]) == bool(helpers)
    await killed(view["pid"], signal.SIGSEGV)
    again = await empty.until("heart", lambda view: view["restarts"] == 1 and view["phase"] == "running")
    assert (again["cause"], again["last-end"]["status"]) == ("qemu-signal", "signal 11 (SIGSEGV)")
    assert not Path(f"/proc/{view['pid']}").exists(), "nothing is left of the one that has ended"
    assert {parent(pid) for pid in (again["pid"], *again["helpers"].values())} == {spawners.pid}


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGABRT, "signal 6 (SIGABRT)"), (signal.SIGKILL, "signal 9 (SIGKILL)")]
)
async def test_how_qemu_ended_while_no_daemon_was_there_is_known_though_nobody_has_kept_its_pidfd(
    number: signal.Signals, status: str, spawners: Spawners, empty: Site
) -> None:
    empty.guest("idle", STAYS)
    await empty.start()
    await empty.run("guest-start", name="idle")
    pid = (await empty.view("idle"))["pid"]
    await empty.kill()
    await killed(pid, number)
    assert parent(pid) == spawners.pid, "its status waits for the next daemon"
    await empty.start()
    view = await empty.phase("idle", "stopped")
    assert view["last-end"]["status"] == status
    assert not Path(f"/proc/{pid}").exists()


async def test_a_spawner_that_goes_takes_no_guest_along_and_the_next_one_serves(
    spawners: Spawners, empty: Site
) -> None:
    empty.guest("kept", STAYS)
    empty.guest("late", f'{IDLE}[restart]\ndelay = "100 ms"\nmax-delay = "100 ms"\nlimit = 0\n')
    await empty.start()
    await empty.run("guest-start", name="kept")
    pid = (await empty.view("kept"))["pid"]
    spawners.kill()
    status, _, errors = await empty.cli("start", "late", "--no-wait")
    assert status == 0, errors
    view = await empty.until("late", lambda view: view["last-end"] is not None)
    told = "starts nothing: [Errno 111] Connection refused; `systemctl status qsup-spawn` tells more"
    assert (view["cause"], told in view["last-end"]["detail"]) == ("start-failed", True), view["last-end"]
    spawners.start()
    view = await empty.phase("late", "running")
    assert parent(view["pid"]) == spawners.pid
    assert alive(pid)
    assert (await empty.view("kept"))["phase"] == "running"
    await killed(pid, signal.SIGTERM)
    view = await empty.phase("kept", "stopped")
    assert view["cause"] == "qemu-signal"


async def test_a_qemu_of_which_the_spawner_did_not_live_to_tell_is_ended_and_another_one_started(
    empty: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = bind(str(tmp_path / "spawn.sock"))
    listener.listen()
    monkeypatch.setenv(SPAWNER, listener.getsockname())
    lossy = Lossy(listener)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                lossy.serve_next()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        empty.guest("idle", f'{IDLE}[restart]\ndelay = "100 ms"\n')
        await empty.start()
        await empty.cli("start", "idle", "--no-wait")
        view = await empty.until(
            "idle", lambda view: view["phase"] == "running" and view["last-end"] is not None
        )
        assert view["cause"] == "start-failed"
        assert lossy.lost is not None
        os.close(lossy.lost.pidfd)
        assert not Path(f"/proc/{lossy.lost.pid}").exists()
        assert "another process holds the lock" not in empty.log
        await empty.run("guest-stop", name="idle")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()
        listener.close()

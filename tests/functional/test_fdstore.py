"""What the service manager keeps while there is no daemon: nothing of how a guest ends is lost."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from qsup import endpoint
from tests.fakes.manager import Manager
from tests.functional.harness import DEADLINE, HEARTBEAT, IDLE, Site, ending, killed

KNOWN = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
"""Whether this kernel tells the exit status of a process that was not our child."""


@pytest.fixture
async def managed(empty: Site, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose daemon has a service manager."""
    empty.manager = Manager(tmp_path / "manager")
    yield empty
    empty.manager.close()


def kept(here: Site) -> list[str]:
    """What the manager keeps, without the tokens."""
    assert here.manager is not None
    return [name.partition("-")[0] for name in here.manager.names]


async def last_end(here: Site, name: str) -> dict[str, Any]:
    """How the guest ended, with the exit status as soon as whoever has to reap QEMU has done so."""
    view = await here.phase(name, "stopped")
    if KNOWN:
        view = await here.until(name, lambda view: view["last-end"]["status"] is not None)
    end: dict[str, Any] = view["last-end"]
    return end


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGKILL, "signal 9 (SIGKILL)"),
        (signal.SIGTERM, "exit 0"),
        (signal.SIGABRT, "signal 6 (SIGABRT)"),
    ],
)
async def test_how_qemu_was_ended_while_no_daemon_was_there_is_known(
    number: signal.Signals, status: str, managed: Site
) -> None:
    managed.guest("idle", f'{IDLE}[restart]\npolicy = "never"\n')
    await managed.start()
    await managed.run("guest-start", name="idle")
    pid = (await managed.phase("idle", "running"))["pid"]
    assert kept(managed) == ["monitor", "process"]
    await managed.kill()
    await killed(pid, number)
    await managed.start()
    end = await last_end(managed, "idle")
    if number == signal.SIGTERM:
        assert end["cause"] == "qemu-signal"
        assert f"got signal 15 from pid {os.getpid()}" in end["detail"]
    if KNOWN:
        assert end["status"] == status
        assert end["cause"] == ("qemu-abort" if number == signal.SIGABRT else "qemu-signal")


async def types_away(here: Site, key: bytes) -> socket.socket:
    """Type into the guest's serial port while no daemon is there; return the open port."""
    (run_dir,) = [entry for entry in (here.runtime / "guests/heart").iterdir() if entry.is_dir()]
    serial = await endpoint.connect(run_dir, "serial-console.sock")
    await asyncio.get_running_loop().sock_sendall(serial, key)
    return serial


def waiting(here: Site) -> bytes:
    """What QEMU has said on the connection that the manager keeps, and nobody has taken."""
    assert here.manager is not None
    here.manager.listen()
    (fd,) = [fd for name, fd in here.manager.kept if name.startswith("monitor")]
    with socket.socket(fileno=os.dup(fd)) as monitor:
        try:
            return monitor.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""


def hung_up(here: Site) -> bool:
    """Whether the connection that the manager keeps is at its end."""
    assert here.manager is not None
    poll = select.poll()
    poll.register(next(fd for name, fd in here.manager.kept if name.startswith("monitor")), 0)
    return bool(poll.poll(0))


async def told(here: Site, event: bytes) -> None:
    """Wait until QEMU has told an event."""
    async with asyncio.timeout(DEADLINE):
        while event not in waiting(here):
            # Looking takes nothing away, so no event announces more.
            await asyncio.sleep(0.02)


@pytest.fixture
async def heart(managed: Site, heartbeat_image: Path) -> Site:
    """The daemon has a manager, a guest that beats, and has just been killed."""
    managed.guest("heart", HEARTBEAT.format(image=heartbeat_image) + '[restart]\npolicy = "never"\n')
    await managed.start()
    await managed.run("guest-start", name="heart")
    await managed.prints("heart", "beat 1")
    await managed.kill()
    return managed


async def test_a_guest_that_switched_itself_off_is_not_taken_for_one_whose_qemu_was_killed(
    heart: Site,
) -> None:
    """Both happens while no daemon is there: what QEMU told before its end is what counts."""
    pid = json.loads((heart.runtime / "guests/heart/launch.json").read_text())["identity"]["pid"]
    with await types_away(heart, b"p"):
        await told(heart, b"SHUTDOWN")
    await killed(pid)
    await heart.start()
    end = await last_end(heart, "heart")
    assert end["cause"] == "guest-shutdown"
    assert "QEMU's event SHUTDOWN: reason guest-shutdown" in end["evidence"]
    assert end["status"] == ("signal 9 (SIGKILL)" if KNOWN else None)


async def test_a_reset_that_nobody_saw_is_counted(heart: Site) -> None:
    with await types_away(heart, b"r"):
        await told(heart, b"RESET")
    await heart.start()
    line = await heart.said("guest-reset")
    assert "reset 1 of this run" in line
    assert (await heart.view("heart"))["phase"] == "running"


async def test_the_exit_status_that_a_guest_has_chosen_is_known(heart: Site) -> None:
    pid = json.loads((heart.runtime / "guests/heart/launch.json").read_text())["identity"]["pid"]
    async with ending(pid):
        (await types_away(heart, b"e")).close()
    await heart.start()
    end = await last_end(heart, "heart")
    if KNOWN:
        assert (end["cause"], end["status"]) == ("qemu-exit", "exit 33")


async def test_a_daemon_that_leaves_does_not_hang_up(managed: Site) -> None:
    """Neither is QEMU's monitor closed, nor does the store grow from one daemon to the next."""
    managed.guest("idle", IDLE)
    await managed.start()
    await managed.run("guest-start", name="idle")
    await managed.phase("idle", "running")
    assert managed.manager is not None
    for _ in range(3):
        names = managed.manager.names
        assert kept(managed) == ["monitor", "process"]
        assert await managed.leave() == 0
        assert managed.manager.names == names
        assert not hung_up(managed)
        await managed.start()
        assert (await managed.phase("idle", "running"))["adopted"]


async def test_what_is_kept_of_a_launch_goes_with_the_next_and_with_the_guest(managed: Site) -> None:
    file = managed.guest("idle", IDLE)
    await managed.start()
    await managed.run("guest-start", name="idle")
    assert managed.manager is not None
    first = managed.manager.names
    await managed.run("guest-restart", name="idle")
    second = managed.manager.names
    assert kept(managed) == ["monitor", "process"]
    assert set(first).isdisjoint(second)
    await managed.run("guest-kill", name="idle")
    file.unlink()
    await managed.run("reload-config")
    await managed.said("definition forgotten")
    assert kept(managed) == []


async def test_what_nobody_wants_is_given_back_and_what_is_no_pidfd_harms_nobody(managed: Site) -> None:
    """Whatever lies in the store is looked at before it is used."""
    managed.guest("idle", IDLE)
    await managed.start()
    await managed.run("guest-start", name="idle")
    pid = (await managed.phase("idle", "running"))["pid"]
    await managed.kill()
    assert managed.manager is not None
    managed.manager.listen()
    names = [name for name, _ in managed.manager.kept]
    for _, fd in managed.manager.kept:
        os.close(fd)
    managed.manager.kept = [(name, os.open("/dev/null", os.O_RDWR)) for name in (*names, "stranger")]
    await managed.start()
    view = await managed.phase("idle", "running")
    assert (view["pid"], view["adopted"]) == (pid, True)
    assert kept(managed) == ["monitor", "process"]
    assert "Traceback" not in managed.log

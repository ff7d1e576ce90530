"""The daemon may die at any moment; guests do not notice, and the next daemon knows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from qemu.qmp import EventListener, QMPClient

from qsup import endpoint
from tests.functional.harness import DEADLINE, IDLE, Site, alive, killed, site


async def test_kill_9_of_the_daemon_disturbs_no_guest_and_the_next_one_adopts_it(beating: Site) -> None:
    before = await beating.view("heart")
    await beating.prints("heart", "beat 2")
    await beating.kill()
    assert alive(before["pid"])
    await beating.start()
    after = await beating.view("heart")
    assert (after["pid"], after["phase"], after["adopted"], after["restarts"]) == (
        before["pid"],
        "running",
        True,
        0,
    )
    seen = beating.printed("heart")
    while beating.printed("heart") == seen:
        await asyncio.sleep(0.02)
    assert beating.printed("heart").count("heartbeat:") == 1, "the guest has not booted again"
    await killed(after["pid"])
    again = await beating.until("heart", lambda view: view["restarts"] == 1 and view["phase"] == "running")
    assert again["pid"] != after["pid"], "it is supervised as before"


async def test_the_exit_status_of_an_adopted_qemu_is_learned_from_the_kernel(beating: Site) -> None:
    await beating.kill()
    await beating.start()
    await killed((await beating.view("heart"))["pid"])
    view = await beating.until("heart", lambda view: view["restarts"] == 1)
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15):
        view = await beating.until("heart", lambda view: view["last-end"]["status"] is not None)
        assert (view["last-end"]["status"], view["cause"]) == ("signal 9 (SIGKILL)", "qemu-signal")


async def test_a_guest_killed_while_no_daemon_was_there_is_restarted_by_its_policy(beating: Site) -> None:
    pid = (await beating.view("heart"))["pid"]
    await beating.kill()
    await killed(pid)
    await beating.start()
    view = await beating.until("heart", lambda view: view["phase"] == "running")
    assert view["restarts"] == 1
    assert view["cause"] in ("unknown", "qemu-signal")
    assert view["last-end"]["detail"]


async def type_unseen(here: Site, name: str, key: bytes, event: str) -> None:
    """Type into a guest's serial port while no daemon is there, and wait until QEMU tells of the event."""
    (run_dir,) = [entry for entry in (here.runtime / "guests" / name).iterdir() if entry.is_dir()]
    qemu = QMPClient("unseen")
    await qemu.connect(await endpoint.connect(run_dir, "qmp.sock"))
    with qemu.listener((event,)) as events, await endpoint.connect(run_dir, "serial-console.sock") as serial:
        serial.send(key)
        async with asyncio.timeout(DEADLINE):
            await events.get()
    await qemu.disconnect()


@pytest.mark.parametrize(
    ("key", "event", "cause", "phase"),
    [(b"p", "SHUTDOWN", "guest-shutdown", "stopped"), (b"c", "GUEST_PANICKED", "guest-panic", "running")],
)
async def test_how_a_guest_ended_is_known_although_nobody_was_there(
    key: bytes, event: str, cause: str, phase: str, beating: Site
) -> None:
    """QEMU stands still at its guest's end, so that the next daemon can still ask."""
    await beating.prints("heart", "beat 1")
    await beating.kill()
    await type_unseen(beating, "heart", key, event)
    await beating.start()
    view = await beating.until("heart", lambda view: view["phase"] == phase and view["cause"] is not None)
    assert view["cause"] == cause


async def test_a_stop_under_way_is_carried_on_by_the_next_daemon(beating: Site) -> None:
    await beating.prints("heart", "beat 1")
    await beating.types("heart", "i")
    await beating.prints("heart", "ignoring")
    await beating.run("guest-stop", name="heart", wait=False)
    await beating.phase("heart", "stopping")
    await beating.kill()
    await beating.start()
    view = await beating.phase("heart", "stopped")
    assert (view["wanted"], view["cause"]) == ("stopped", "operator")


async def test_a_paused_guest_is_still_paused(empty: Site) -> None:
    empty.guest("idle", IDLE)
    await empty.start()
    await empty.run("guest-start", name="idle")
    await empty.run("guest-pause", name="idle")
    await empty.kill()
    await empty.start()
    assert (await empty.phase("idle", "paused"))["adopted"]
    await empty.run("guest-resume", name="idle")


async def test_the_operators_word_survives_the_daemon(empty: Site) -> None:
    empty.guest("stays", "autostart = true\n" + IDLE)
    empty.guest("other", IDLE)
    await empty.start()
    await empty.phase("stays", "running")
    await empty.run("guest-stop", name="stays")
    await empty.run("guest-start", name="other")
    assert await empty.leave() == 0
    await empty.start()
    assert (await empty.view("stays"))["phase"] == "stopped"
    assert (await empty.view("other"))["phase"] == "running"


async def test_after_a_reboot_of_the_host_what_was_wanted_runs_and_what_was_stopped_does_not(
    empty: Site,
) -> None:
    for name in ("ran", "stopped", "off"):
        empty.guest(name, "autostart = true\n" + IDLE)
    await empty.start()
    for name in ("ran", "stopped", "off"):
        await empty.phase(name, "running")
    await empty.run("guest-start", name="ran")
    await empty.run("guest-stop", name="stopped")
    pids = [(await empty.view(name))["pid"] for name in ("ran", "off")]
    await empty.kill()
    for pid in pids:
        await killed(pid)
    # What a reboot leaves: no runtime directory, and records of another boot.
    shutil.rmtree(empty.runtime)
    for record in (empty.state / "guests").glob("*/state.json"):
        document = json.loads(record.read_text())
        document["boot_id"] = "00000000-0000-0000-0000-000000000000"
        record.write_text(json.dumps(document))
    await empty.start()
    await empty.phase("ran", "running")
    await empty.phase("off", "running")
    assert (await empty.view("stopped"))["phase"] == "stopped"


async def test_a_guest_whose_record_is_lost_and_cannot_be_written_is_adopted_all_the_same(
    beating: Site,
) -> None:
    pid = (await beating.view("heart"))["pid"]
    await beating.kill()
    path = beating.runtime / "guests/heart/launch.json"
    path.unlink()
    # As on a disk that is full: what is to be written lies in the way itself.
    path.with_name(".launch.json.new").mkdir()
    await beating.start()
    view = await beating.phase("heart", "running")
    assert view["pid"] == pid
    assert any("cannot be written" in line for line in beating.output)


@pytest.mark.parametrize("record", ["run/guests/heart/launch.json", "state/guests/heart/state.json"])
@pytest.mark.parametrize("damage", [b"", b"{torn", None])
async def test_a_damaged_record_loses_no_running_guest(
    record: str, damage: bytes | None, beating: Site
) -> None:
    pid = (await beating.view("heart"))["pid"]
    await beating.kill()
    path = beating.root / record
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    await beating.start()
    view = await beating.phase("heart", "running")
    assert (view["pid"], view["adopted"]) == (pid, True)
    if damage is not None:
        assert "cannot be used" in beating.log
        assert list(path.parent.glob("*.unreadable-1"))


async def test_a_record_whose_pid_belongs_to_a_stranger_hurts_nobody(beating: Site) -> None:
    pid = (await beating.view("heart"))["pid"]
    await beating.kill()
    await killed(pid)
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    path = beating.runtime / "guests/heart/launch.json"
    document = json.loads(path.read_text())
    document["identity"]["pid"] = stranger.pid
    path.write_text(json.dumps(document))
    await beating.start()
    view = await beating.phase("heart", "running")
    assert view["pid"] != stranger.pid
    await beating.run("guest-kill", name="heart")
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_a_guest_whose_file_has_gone_runs_on_marked_so_until_it_is_stopped(empty: Site) -> None:
    file = empty.guest("idle", IDLE)
    await empty.start()
    await empty.run("guest-start", name="idle")
    pid = (await empty.view("idle"))["pid"]
    file.unlink()
    await empty.run("reload-config")
    view = await empty.view("idle")
    assert (view["pid"], view["orphaned"]) == (pid, True)
    await empty.kill()
    await empty.start()
    view = await empty.phase("idle", "running")
    assert (view["pid"], view["orphaned"]) == (pid, True), "the next daemon knows it from its record"
    assert "file has gone" in (await empty.cli("why", "idle"))[1]
    with empty.client.listen(listener := EventListener()):
        await empty.run("guest-stop", name="idle")
        async with asyncio.timeout(DEADLINE):
            while await empty.run("query-guests"):
                await listener.get()
    assert (await empty.cli("status", "idle"))[0] == 3


async def test_a_stopped_guest_whose_qemu_nobody_has_reaped_yet_stays_stopped(empty: Site) -> None:
    """An adopted QEMU is init's child; until init reaps it, it can still be found, and is no guest any more."""
    empty.guest("idle", IDLE)
    await empty.start()
    await empty.run("guest-start", name="idle")
    await empty.kill()
    await empty.start()
    await empty.run("guest-kill", name="idle")
    await empty.kill()
    await empty.start()
    view = await empty.view("idle")
    assert (view["phase"], view["wanted"], view["cause"]) == ("stopped", "stopped", "operator")


async def test_a_second_daemon_on_the_same_directories_refuses(beating: Site) -> None:
    for changed in ("--runtime-dir", "--state-dir"):
        words = {
            "--config": str(beating.config),
            "--runtime-dir": str(beating.runtime),
            "--state-dir": str(beating.state),
            changed: str(beating.root / "another"),
        }
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "qsup.daemon", *(word for pair in words.items() for word in pair),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await second.communicate()
        assert second.returncode == 2
        assert b"another qsupd works in" in err
        assert b"Traceback" not in err


async def test_a_qemu_that_no_record_tells_of_is_never_doubled(beating: Site, tmp_path: Path) -> None:
    """A copied or emptied runtime directory: the lock that QEMU itself holds decides."""
    pid = (await beating.view("heart"))["pid"]
    await beating.kill()
    shutil.rmtree(beating.runtime)
    (beating.state / "guests/heart/state.json").unlink()
    await beating.start()
    view = await beating.phase("heart", "unreachable", "running")
    assert view["pid"] == pid
    await beating.run("guest-stop", name="heart")
    assert not alive(pid)


async def test_a_copy_of_all_directories_neither_takes_nor_doubles_a_guest(
    empty: Site, tmp_path: Path
) -> None:
    """A daemon in the copy keeps off the QEMU that its record tells of; QEMU's lock on the disk does the rest."""
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    empty.guest("idle", f'{IDLE}[disk.root]\nfile = "{disk}"\nformat = "raw"\n[restart]\nlimit = 1\n')
    await empty.start()
    await empty.run("guest-start", name="idle")
    pid = (await empty.phase("idle", "running"))["pid"]
    async with site(tmp_path / "copy") as copy:
        for ours, theirs in (
            (empty.config, copy.config),
            (empty.runtime, copy.runtime),
            (empty.state, copy.state),
        ):
            shutil.copytree(ours, theirs, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        await copy.start()
        await copy.said(f"pid {pid} of its record is a QEMU of other directories; it is not touched")
        view = await copy.phase("idle", "gave-up")
        assert "lock" in view["reason"]
    assert (await empty.view("idle"))["pid"] == pid
    assert alive(pid)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08])
async def test_a_daemon_killed_during_a_launch_leaves_one_guest(
    delay: float, tmp_path: Path, qemu_binary: str
) -> None:
    """Killed at many moments of a launch: the next daemon has exactly one QEMU running, its own or an adopted one."""
    async with site(tmp_path) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{qemu_binary}"\n')
        here.guest("idle", IDLE)
        await here.start()
        starting = asyncio.ensure_future(here.client.execute("guest-start", {"name": "idle"}))
        await asyncio.sleep(delay)
        assert here.process is not None
        here.process.send_signal(signal.SIGKILL)
        await asyncio.gather(starting, return_exceptions=True)
        await here.kill()
        await here.start()
        view = await here.view("idle")
        if view["wanted"] == "running":
            await here.phase("idle", "running")
        qemus = [
            entry
            for entry in Path("/proc").glob("[0-9]*/fd/3")
            if _is(entry, here.state / "guests/idle/lock")
        ]
        assert len(qemus) == (1 if view["wanted"] == "running" else 0)


def _is(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False

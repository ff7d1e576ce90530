"""The life of a guest on a real QEMU: every way to end, and what follows."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.functional.harness import HEARTBEAT, IDLE, Site, alive, killed, under_kvm


async def test_a_started_guest_runs_and_prints(beating: Site) -> None:
    view = await beating.view("heart")
    assert (view["phase"], view["ready"], view["wanted"]) == ("running", True, "running")
    assert alive(view["pid"])
    await beating.prints("heart", "beat 2")


async def test_kill_9_of_qemu_brings_a_new_one(beating: Site) -> None:
    before = await beating.view("heart")
    await killed(before["pid"])
    after = await beating.until("heart", lambda view: view["restarts"] == 1 and view["phase"] == "running")
    assert after["pid"] != before["pid"]
    assert after["cause"] == "qemu-signal"
    assert after["last-end"]["status"] == "signal 9 (SIGKILL)"
    await beating.prints("heart", "heartbeat:")


async def test_sigterm_from_outside_is_told_with_its_sender_and_answered(beating: Site) -> None:
    before = await beating.view("heart")
    await killed(before["pid"], signal.SIGTERM)
    after = await beating.until("heart", lambda view: view["restarts"] == 1 and view["phase"] == "running")
    assert after["cause"] == "qemu-signal"
    assert "QEMU got signal 15 from pid" in after["last-end"]["detail"]


async def test_a_guest_that_powers_itself_off_stays_off(beating: Site) -> None:
    await beating.prints("heart", "beat 1")
    await beating.types("heart", "p")
    view = await beating.phase("heart", "stopped")
    assert (view["cause"], view["wanted"], view["restarts"]) == ("guest-shutdown", "running", 0)
    assert view["last-end"]["status"] == "exit 0"


@pytest.mark.parametrize(
    ("key", "cause", "status"),
    [("c", "guest-panic", "exit 0"), ("e", "qemu-exit", None)],
)
async def test_a_failure_of_the_guest_is_named_and_answered(
    key: str, cause: str, status: str | None, beating: Site
) -> None:
    await beating.prints("heart", "beat 1")
    await beating.types("heart", key)
    view = await beating.until("heart", lambda view: view["restarts"] == 1 and view["phase"] == "running")
    assert view["cause"] == cause
    assert status is None or view["last-end"]["status"] == status


async def test_a_triple_fault_is_told_from_a_reset_under_tcg(beating: Site) -> None:
    await beating.prints("heart", "beat 2")
    pid = (await beating.view("heart"))["pid"]
    await beating.types("heart", "t")
    await beating.said("triple-fault: a vCPU met a triple fault")
    # A second notice within a second would be left out.
    await beating.prints("heart", "beat 2", times=2)
    await beating.types("heart", "r")
    await beating.said("guest-reset: the guest reset itself")
    view = await beating.view("heart")
    assert (view["pid"], view["phase"], view["restarts"]) == (pid, "running", 0)


async def test_a_reset_restarts_qemu_where_a_rule_says_so(empty: Site, heartbeat_image: Path) -> None:
    rule = '[restart]\ndelay = "0 s"\n[restart.on]\nguest-reset = "restart"\ntriple-fault = "stop"\n'
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + rule)
    await empty.start()
    await empty.run("guest-start", name="heart")
    pid = (await empty.view("heart"))["pid"]
    await empty.prints("heart", "beat 1")
    await empty.run("guest-reset", name="heart")
    await empty.prints("heart", "beat 1", times=2)
    assert (await empty.view("heart"))["pid"] == pid, "an operator's reset is no end"
    # For a while after an operator's reset a reset is no end, as the firmware may reset once more.
    await empty.run("guest-restart", name="heart")
    await empty.prints("heart", "beat 1", times=3)
    pid = (await empty.view("heart"))["pid"]
    await empty.types("heart", "r")
    view = await empty.until("heart", lambda view: view["restarts"] == 1 and view["phase"] == "running")
    assert (view["cause"], view["pid"] == pid) == ("guest-reset", False)
    await empty.prints("heart", "beat 1", times=4)
    await empty.types("heart", "t")
    view = await empty.phase("heart", "stopped")
    assert view["cause"] == "triple-fault"


async def test_stop_asks_by_acpi_and_says_so(beating: Site) -> None:
    await beating.prints("heart", "beat 1")
    status, out, _ = await beating.cli("stop", "heart")
    assert status == 0
    assert "stopped by acpi" in out
    view = await beating.view("heart")
    assert (view["phase"], view["wanted"], view["cause"]) == ("stopped", "stopped", "operator")


async def test_a_guest_that_ignores_the_button_is_quit(beating: Site) -> None:
    await beating.prints("heart", "beat 1")
    await beating.types("heart", "i")
    await beating.prints("heart", "beat 2")
    status, out, _ = await beating.cli("stop", "heart")
    assert status == 0
    assert "stopped by quit" in out
    assert "ignored" in (beating.state / "guests/heart/serial-console.log").read_text()


async def test_a_stopped_process_is_brought_down_by_sigkill(beating: Site) -> None:
    """SIGSTOP: neither guest nor QEMU answers, SIGTERM stays pending, only SIGKILL gets through."""
    pid = (await beating.view("heart"))["pid"]
    os.kill(pid, signal.SIGSTOP)
    status, out, _ = await beating.cli("stop", "heart")
    assert status == 0
    assert "stopped by SIGKILL" in out


async def test_pause_resume_reset_kill_and_restart(beating: Site) -> None:
    first = await beating.view("heart")
    for words, phase in ((("pause",), "paused"), (("resume",), "running"), (("reset",), "running")):
        status, _, err = await beating.cli(*words, "heart")
        assert (status, err) == (0, "")
        assert (await beating.view("heart"))["phase"] == phase
    assert (await beating.view("heart"))["pid"] == first["pid"]
    assert (await beating.cli("restart", "heart"))[0] == 0
    second = await beating.view("heart")
    assert second["pid"] != first["pid"]
    assert second["restarts"] == 0
    assert (await beating.cli("kill", "heart"))[0] == 0
    assert (await beating.view("heart"))["phase"] == "stopped"
    status, _, err = await beating.cli("pause", "heart")
    assert status == 1
    assert "cannot pause a guest that is stopped" in err


async def test_a_guest_that_fails_again_and_again_is_given_up_until_started(empty: Site) -> None:
    fails = '[restart]\ndelay = "0 s"\nlimit = 3\n[qemu]\nargs = ["-device", "no-such-device"]\n'
    empty.guest("broken", IDLE + fails)
    await empty.start()
    status, _, err = await empty.cli("start", "broken")
    assert status == 1
    assert "no-such-device" in err
    view = await empty.phase("broken", "gave-up")
    assert view["cause"] == "start-failed"
    assert "no-such-device" in view["last-end"]["detail"], "QEMU's own words"
    status, out, _ = await empty.cli("why", "broken")
    assert "no-such-device" in out
    assert "restart.limit = 3" in out
    empty.guest("broken", IDLE)
    await empty.run("reload-config")
    assert (await empty.cli("start", "broken"))[0] == 0
    assert (await empty.view("broken"))["failures"] == 0


async def test_the_backoff_shows_the_next_try_and_a_start_does_not_wait_for_it(empty: Site) -> None:
    empty.guest("idle", IDLE + '[restart]\ndelay = "1 h"\nmax-delay = "1 h"\n')
    await empty.start()
    await empty.run("guest-start", name="idle")
    await killed((await empty.view("idle"))["pid"])
    view = await empty.phase("idle", "backoff")
    wait = datetime.fromisoformat(view["next-try"]) - datetime.fromisoformat(view["since"])
    assert 0.7 * 3600 < wait.total_seconds() <= 3600
    assert (await empty.cli("start", "idle"))[0] == 0
    assert (await empty.view("idle"))["phase"] == "running"


async def test_the_agent_is_asked_first_and_its_absence_costs_no_time(
    empty: Site, heartbeat_image: Path
) -> None:
    stop = '[agent]\nenabled = true\n[stop]\nmethods = ["agent", "acpi"]\nrepeat = "30 s"\ntimeout = "60 s"\n'
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + stop)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat 1")
    status, out, _ = await empty.cli("stop", "heart")
    assert "stopped by acpi" in out
    await empty.said("the guest agent did not shut the guest down")
    assert status == 0


@pytest.mark.kvm
async def test_a_guest_runs_under_kvm(empty: Site) -> None:
    empty.guest("idle", under_kvm(IDLE))
    await empty.start()
    await empty.run("guest-start", name="idle")
    assert (await empty.run("guest-qmp", name="idle", command="query-kvm"))["enabled"] is True
    assert (await empty.view("idle"))["accel"] == "kvm"


async def test_no_guest_inherits_what_the_daemon_has_inherited(empty: Site) -> None:
    empty.guest("idle", IDLE)
    with tempfile.TemporaryFile() as secret:
        await empty.start(pass_fds=(secret.fileno(),))
        await empty.run("guest-start", name="idle")
        pid = (await empty.view("idle"))["pid"]
        inode = os.fstat(secret.fileno()).st_ino
        held = {os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")}
    assert inode not in held


async def test_a_guest_that_was_never_started_is_so_since_the_daemon_knows_it(empty: Site) -> None:
    began = time.time()
    empty.guest("idle", IDLE)
    await empty.start()
    since = datetime.fromisoformat((await empty.view("idle"))["since"])
    assert began - 1 <= since.timestamp() <= time.time() + 1

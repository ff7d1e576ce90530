"""The control socket that systemd has opened, and reloads, under a real systemd."""

from __future__ import annotations

from tests.system.host import BIN, IDLE, SOCKET, Host


def test_the_socket_is_systemds_and_stays_when_the_daemon_goes(units: Host) -> None:
    def facts() -> str:
        return units.run("stat", "--format=%A %U %G %i", SOCKET)

    before = facts()
    assert before.startswith("srw-rw---- root qsup ")
    assert f"control socket {SOCKET}" in units.journal("--unit=qsupd")
    units.systemctl("restart", "qsupd")
    units.qsup("list")
    assert facts() == before
    units.systemctl("kill", "--signal=KILL", "--kill-who=main", "qsupd")
    units.qsup("list")
    assert facts() == before
    units.systemctl("stop", "qsupd")
    assert facts() == before


def test_who_connects_while_the_daemon_is_away_waits_for_it(units: Host) -> None:
    units.drop_in("qsupd.service", "[Service]\nRestartSec=2s\n")
    was = units.main_pid()
    units.systemctl("kill", "--signal=KILL", "--kill-who=main", "qsupd")
    units.until(lambda: units.show("qsupd", "SubState") == "auto-restart")
    assert units.qsup("list") == "no guests\n"
    assert units.main_pid() not in (0, was)
    units.drop_in("qsupd.service", "")
    units.systemctl("stop", "qsupd")
    assert units.qsup("list") == "no guests\n", "the socket had not started the daemon"
    units.systemctl("is-active", "qsupd")


def test_no_client_fails_while_the_daemon_is_restarted_again_and_again(units: Host) -> None:
    """Questions that a leaving daemon had taken and not answered are asked once more by the command itself."""
    script = "for i in $(seq 15); do timeout 20 qsup list || exit 1; done"
    path = f"PATH={BIN}:/usr/bin:/bin"
    asking = units.box.popen("env", path, "sh", "-ec", script)
    restarts = 0
    while asking.poll() is None:
        units.systemctl("restart", "qsupd")
        restarts += 1
    told, _ = asking.communicate()
    assert (asking.returncode, told) == (0, "no guests\n" * 15)
    assert restarts > 1


def test_without_the_unit_the_daemon_opens_a_socket_of_its_own(units: Host) -> None:
    units.systemctl("stop", "qsupd.socket", "qsupd.service")
    units.systemctl("mask", "--runtime", "qsupd.socket")
    units.systemctl("start", "qsupd")
    assert units.qsup("list") == "no guests\n"
    assert units.run("stat", "--format=%A %G", SOCKET) == "srw-rw---- qsup\n"
    units.systemctl("stop", "qsupd")
    assert "no daemon answers" in units.qsup("list", fails=True)
    units.systemctl("unmask", "--runtime", "qsupd.socket")
    units.systemctl("start", "qsupd")
    assert units.run("stat", "--format=%A", SOCKET) == "srw-rw----\n"


def test_a_daemon_that_cannot_start_is_tried_once_a_second_however_many_wait(units: Host) -> None:
    units.systemctl("stop", "qsupd")
    units.drop_in(
        "qsupd.service", f"[Service]\nExecStart=\nExecStart={BIN}/qsupd --nonsense\nRestartSec=1s\n"
    )
    asking = units.box.popen(str(BIN / "qsup"), "list")
    units.until(lambda: int(units.show("qsupd", "NRestarts")) >= 2)
    units.drop_in("qsupd.service", "")
    told, _ = asking.communicate(timeout=20)
    assert (asking.returncode, told) == (0, "no guests\n")
    tries = units.journal("--unit=qsupd", "--grep=unrecognized arguments: --nonsense").count("--nonsense")
    assert tries <= int(units.show("qsupd", "NRestarts")) + 1


def test_a_reload_is_over_when_the_files_have_been_read_and_fails_if_one_is_broken(units: Host) -> None:
    for number in range(5):
        units.write(f"new{number}", IDLE)
        units.systemctl("reload", "qsupd")
        assert f"new{number}" in units.qsup("list")
    units.write("broken", "no-such-key = 1\n")
    assert "Job for qsupd.service failed" in units.systemctl("reload", "qsupd", fails=True)
    assert "guests/broken.toml:1" in units.journal("--unit=qsupd")
    assert units.show("qsupd", "ActiveState") == "active"
    (units.directory / "guests/broken.toml").unlink()
    units.systemctl("reload", "qsupd")
    assert units.show("qsupd", "Result") == "success"


def test_a_reload_by_signal_shows_as_one_and_ends(units: Host) -> None:
    units.systemctl("kill", "--signal=HUP", "--kill-who=main", "qsupd")
    units.until(lambda: "configuration read again" in units.journal("--unit=qsupd"))
    units.until(lambda: units.show("qsupd", "ActiveState") == "active")

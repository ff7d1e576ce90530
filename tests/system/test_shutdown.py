"""All guests are stopped in order as the host goes down, within one time, and are there again when it comes up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.system.host import IDLE, Host, host

HEART = """
[machine]
accel = "{accel}"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
[disk.root]
file = "{image}"
format = "raw"
read-only = true
[boot]
order = ["root"]
[serial.console]
[stop]
methods = ["acpi"]
repeat = "500 ms"
timeout = "20 s"
"""
STUBBORN = IDLE.replace("methods = []", 'methods = ["acpi"]\ntimeout = "60 s"')
BUDGET = "[Service]\nEnvironment=QSUP_BUDGET=3s\n"


def course(here: Host, *matches: str) -> list[tuple[str, str]]:
    """Every phase that a guest came to, in order, of what the journal has."""
    here.run("journalctl", "--sync")
    lines = here.run("journalctl", "--output=json", "QSUP_EVENT=GUEST_PHASE", *matches).splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["QSUP_GUEST"], entry["QSUP_PHASE"]) for entry in entries]


def phases(here: Host) -> dict[str, str]:
    return {facts["name"]: facts["phase"] for facts in json.loads(here.qsup("list", "--json"))}


def test_the_unit_stops_them_in_order_within_its_time_and_starts_them_again(units: Host) -> None:
    units.drop_in("qsup-guests.service", BUDGET)
    units.systemctl("restart", "qsup-guests")
    units.guests(db=STUBBORN, web=f'after = ["db"]\n{STUBBORN}', off=IDLE)
    units.qsup("start", "db", "web")
    before = len(course(units))
    units.systemctl("stop", "qsup-guests")
    assert phases(units) == {"db": "stopped", "web": "stopped", "off": "stopped"}
    down = course(units)[before:]
    assert down == [(name, phase) for name in ("web", "db") for phase in ("stopping", "stopped")]
    said = units.journal("--unit=qsup-guests")
    assert "cut short, for want of time: db, web" in said
    assert units.show("qsup-guests", "Result") == "success"
    assert units.status("db")["cause"] == "operator", "the host does not go down"

    units.systemctl("restart", "qsupd")
    assert units.show("qsup-guests", "ActiveState") == "inactive", "a restart of the daemon starts no guests"
    assert phases(units)["db"] == "stopped"
    units.systemctl("start", "qsup-guests")
    units.until(lambda: phases(units) == {"db": "running", "web": "running", "off": "stopped"})
    up = course(units)[before + len(down) :]
    assert up == [(name, phase) for name in ("db", "web") for phase in ("starting", "running")]
    assert "3 s are too short: by their files guests may take 140.2 s" in units.journal("--unit=qsup-guests")
    units.drop_in("qsup-guests.service", "")


def test_neither_a_restart_nor_a_stop_of_the_daemon_stops_guests(units: Host) -> None:
    units.guests(db=IDLE)
    units.qsup("start", "db")
    pid = units.status("db")["pid"]
    units.systemctl("restart", "qsupd")
    units.systemctl("stop", "qsupd")
    assert units.show("qsup-guests", "ActiveState") == "active"
    assert (units.status("db")["pid"], units.status("db")["phase"]) == (pid, "running")


@pytest.mark.parametrize("hangs", [False, True])
def test_a_daemon_that_hangs_does_not_hold_up_the_stop_for_ever(units: Host, hangs: bool) -> None:
    units.drop_in("qsup-guests.service", BUDGET.replace("3s", "1s"))
    if hangs:
        units.systemctl("kill", "--signal=STOP", "--kill-who=main", "qsupd")
    units.systemctl("stop", "qsup-guests")
    assert units.show("qsup-guests", "Result") == ("exit-code" if hangs else "success")
    units.systemctl("kill", "--signal=CONT", "--kill-who=main", "qsupd")
    units.systemctl("reset-failed", "qsup-guests")
    units.drop_in("qsup-guests.service", "")
    units.systemctl("start", "qsup-guests")


@pytest.fixture
def image(heartbeat_image: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "heartbeat.img"
    copy.write_bytes(heartbeat_image.read_bytes())
    return copy


def test_a_host_that_goes_down_stops_its_guests_first_and_has_them_back_after_the_boot(
    tmp_path: Path, image: Path, qemu_binary: str
) -> None:
    del qemu_binary
    text = HEART.replace("{image}", str(image))
    upper = ("--upper", tmp_path / "upper")
    with host("reboot", tmp_path, *upper) as first:
        first.run("mkdir", "-p", "/var/log/journal")
        first.run("systemctl", "restart", "systemd-journald")
        first.guests(db=text, web=f'after = ["db"]\n{text}', never=IDLE)
        first.qsup("start", "db", "web")
        first.run(
            "timeout", "60", "sh", "-c", f"{ROOT}/.venv/bin/qsup log --follow web | grep -q -m1 'beat 1'"
        )
        old = first.run("cat", "/proc/sys/kernel/random/boot_id").strip().replace("-", "")
    with host("reboot", tmp_path, *upper) as second:
        boot = f"_BOOT_ID={old}"
        down = [one for one in course(second, boot) if one[1] in ("stopping", "stopped")]
        assert down == [(name, phase) for name in ("web", "db") for phase in ("stopping", "stopped")]
        told = second.journal(boot, "--unit=qsup-guests")
        assert "web: stopped by acpi" in told
        assert "cut short" not in told
        # The daemon was there until the last of them had gone.
        lines = second.journal(boot, "--unit=qsupd").splitlines()
        last = max(number for number, line in enumerate(lines) if "the stop of all guests took" in line)
        assert any("leaving; no guest runs" in line for line in lines[last:])

        second.until(lambda: phases(second) == {"db": "running", "web": "running", "never": "stopped"})
        up = [one for one in course(second, "--boot") if one[1] in ("starting", "running")]
        assert up == [(name, phase) for name in ("db", "web") for phase in ("starting", "running")]
        facts = second.status("db")
        assert (facts["last-end"]["cause"], facts["last-end"]["detail"]) == (
            "host-shutdown",
            "the host goes down; stopped by acpi",
        )

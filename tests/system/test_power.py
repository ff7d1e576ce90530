"""The host's power, by a real logind: what it is asked to wait for, and what guests do while the host sleeps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.system.host import BIN, IDLE, Host

SLOW = """
[machine]
accel = "{accel}"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
[stop]
methods = ["acpi"]
timeout = "3 s"
"""
"""A machine that nobody boots, so that it does not hear the power button."""


def locks(here: Host) -> set[tuple[str, str]]:
    """What is inhibited by the daemon, and how."""
    words = "busctl --json=short call org.freedesktop.login1 /org/freedesktop/login1"
    answer = json.loads(here.run(*words.split(), "org.freedesktop.login1.Manager", "ListInhibitors"))
    return {(what, mode) for what, who, _, mode, *_ in answer["data"][0] if who == "qsupd"}


def test_nobody_turns_the_host_off_under_a_stop_and_it_waits_before_it_sleeps(units: Host) -> None:
    units.guests(slow=SLOW)
    units.qsup("start", "slow")
    units.until(lambda: locks(units) == {("sleep", "delay")})
    units.qsup("stop", "--no-wait", "slow")
    units.until(lambda: locks(units) == {("sleep", "delay"), ("shutdown", "block")})
    units.until(lambda: units.status("slow")["phase"] == "stopped")
    units.until(lambda: locks(units) == {("sleep", "delay")})


@pytest.fixture
def bed(units: Host) -> Iterator[Host]:
    """A host that can sleep: all is systemd's own, but for the kernel's file, so that the sleep takes no time."""
    if "power" not in units.run("ls", "/sys").split():
        pytest.skip("this kernel cannot suspend: it has no /sys/power")
    units.run("sh", "-c", "mkdir /run/bed && echo mem >/run/bed/state && mount --bind /run/bed /sys/power")
    yield units
    units.drop_in("systemd-suspend.service", "")
    units.run("sh", "-c", "umount /sys/power && rm -r /run/bed")


@pytest.mark.parametrize("dies", [False, True])
def test_guests_rest_while_the_host_sleeps_whatever_becomes_of_the_daemon(bed: Host, dies: bool) -> None:
    bed.guests(up=IDLE, rests=IDLE, off=IDLE)
    bed.qsup("start", "up", "rests")
    bed.qsup("pause", "rests")
    bed.until(lambda: locks(bed) == {("sleep", "delay")})
    look = f"ExecStartPre=sh -c '{BIN}/qsup list --json >/run/bed/seen'\n"
    kill = "ExecStartPre=systemctl kill --signal=KILL --kill-who=main qsupd\n" if dies else ""
    tell = "ExecStartPost=touch /run/bed/slept\n"
    bed.drop_in("systemd-suspend.service", f"[Service]\n{look}{kill}{tell}")
    pid, daemon = bed.status("up")["pid"], bed.main_pid()
    bed.systemctl("suspend")
    bed.until(lambda: "slept" in bed.run("ls", "/run/bed"))
    bed.until(lambda: bed.status("up")["phase"] == "running")
    bed.until(lambda: locks(bed) == {("sleep", "delay")})
    seen = {facts["name"]: facts["phase"] for facts in json.loads(bed.run("cat", "/run/bed/seen"))}
    assert seen == {"up": "paused", "rests": "paused", "off": "stopped"}
    assert bed.status("up")["pid"] == pid
    assert bed.status("rests")["phase"] == "paused", "an operator wants that"
    assert (bed.main_pid() != daemon) is dies

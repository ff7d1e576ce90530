"""What binds the unit because a QEMU inherits it for its whole life, which is longer than the daemon's."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.system.host import IDLE, Host

AS_ROOT = f'{IDLE}[qemu]\nuser = "root"\n'
"""What a QEMU inherits shows in one that keeps it."""


def restart(here: Host) -> None:
    here.systemctl("restart", "qsupd")


def stop_and_start(here: Host) -> None:
    here.systemctl("stop", "qsupd.socket", "qsupd.service")
    here.systemctl("start", "qsupd")


def qmp(here: Host, command: str, **arguments: object) -> None:
    """Have the guest's QEMU itself do something."""
    here.qsup("qmp", "kept", command, json.dumps(arguments))


def writes(here: Host, file: str) -> bool:
    """Whether what the guest's QEMU writes is where the host sees it."""
    qmp(here, "pmemsave", val=0, size=16, filename=file)
    return here.run("stat", "--format=%s", file) == "16\n"


@pytest.mark.parametrize("what", [restart, stop_and_start], ids=lambda what: what.__name__)
def test_a_guests_directories_and_devices_are_the_hosts_whatever_the_daemon_goes_through(
    what: Callable[[Host], None], units: Host
) -> None:
    """No PrivateTmp=, no ProtectSystem=, no device rules: those of a daemon that has gone would hold for it."""
    units.guests(kept=AS_ROOT)
    units.qsup("start", "kept")
    pid = units.status("kept")["pid"]
    assert units.run("readlink", f"/proc/{pid}/ns/mnt") == units.run("readlink", "/proc/1/ns/mnt")
    for time in ("before", "after"):
        if time == "after":
            what(units)
            units.until(lambda: units.status("kept")["phase"] == "running")
        assert units.status("kept")["pid"] == pid
        for directory in ("/tmp", "/run/qsup", "/var/lib/qsup", "/etc/qsup", "/root"):
            assert writes(units, f"{directory}/{what.__name__}-{time}")
        qmp(
            units, "object-add", **{"qom-type": "rng-random", "id": f"rng-{time}", "filename": "/dev/urandom"}
        )
        qmp(units, "object-del", id=f"rng-{time}")


def test_a_scope_has_no_device_rules_and_limits_but_those_of_its_guest(units: Host) -> None:
    units.guests(kept=IDLE)
    units.qsup("start", "kept")
    units.until(lambda: units.status("kept")["scope"] is not None)
    for unit in ("qsupd.service", "qsup-kept.scope"):
        assert units.show(unit, "DevicePolicy") == "auto"
        assert units.show(unit, "DeviceAllow") == ""
        assert units.show(unit, "IPAddressDeny") == ""
        assert units.show(unit, "TasksMax") == "infinity" or unit != "qsupd.service"
    # As much as the host can give: a container has a limit of its own.
    assert units.show("qsupd.service", "LimitMEMLOCK") == "infinity"
    pids = (units.main_pid(), units.status("kept")["pid"])
    daemons, guests = (units.run("grep", "Max locked memory", f"/proc/{pid}/limits") for pid in pids)
    assert daemons == guests


def test_what_the_unit_takes_away_a_guest_does_not_have_either(units: Host) -> None:
    """What hardening there is holds for every QEMU, for good, and one of its own user has no right at all."""
    units.guests(kept=AS_ROOT, usual=IDLE)
    units.qsup("start", "kept", "usual")
    pids = {
        "daemon": units.main_pid(),
        "guest": units.status("kept")["pid"],
        "usual": units.status("usual")["pid"],
    }
    lines = {
        who: dict(
            line.split(":\t", 1)
            for line in units.run("cat", f"/proc/{pid}/status").splitlines()
            if ":\t" in line
        )
        for who, pid in pids.items()
    }
    assert lines["daemon"]["Seccomp"] == lines["guest"]["Seccomp"] == "2"
    assert lines["daemon"]["CapBnd"] == lines["guest"]["CapBnd"]
    cap_sys_module, cap_sys_time, cap_sys_boot = 16, 25, 22
    held = int(lines["guest"]["CapBnd"], 16)
    assert not any(held >> number & 1 for number in (cap_sys_module, cap_sys_time, cap_sys_boot))
    usual = lines["usual"]
    assert usual["Uid"].split()[0] == units.run("id", "-u", "qsup-qemu").strip()
    assert {usual[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (usual["NoNewPrivs"], usual["Seccomp"]) == ("1", "2")


def test_a_restart_takes_nothing_from_a_running_guest_s_user(units: Host) -> None:
    """systemd sets the mode of the state directory for each daemon anew, and with it the mask of its access list."""
    units.guests(usual=IDLE + "[tpm]\nenabled = true\n")
    units.qsup("start", "usual")
    reach = ("runuser", "-u", "qsup-qemu", "--", "test", "-w", "/var/lib/qsup/guests/usual/tpm")
    units.run(*reach)
    units.systemctl("restart", "qsupd")
    units.until(lambda: units.status("usual")["phase"] == "running")
    units.run(*reach)
    units.qsup("stop", "usual")
    units.box.fails(*reach)


def test_what_systemd_keeps_outlives_a_crash_and_a_restart_but_no_stop_and_nothing_depends_on_it(
    units: Host,
) -> None:
    units.guests(kept=IDLE)
    units.qsup("start", "kept")
    pid = units.status("kept")["pid"]

    def kept() -> str:
        return units.show("qsupd", "NFileDescriptorStore")

    units.until(lambda: kept() == "2")
    units.drop_in("qsupd.service", "[Service]\nRestartSec=1s\n")
    units.systemctl("kill", "--signal=KILL", "--kill-who=main", "qsupd")
    units.until(lambda: units.show("qsupd", "SubState") == "auto-restart")
    assert kept() == "2"
    units.until(lambda: units.show("qsupd", "SubState") == "running")
    assert kept() == "2"
    units.systemctl("restart", "qsupd")
    assert kept() == "2"
    units.systemctl("stop", "qsupd.socket", "qsupd.service")
    assert kept() == "0"
    units.drop_in("qsupd.service", "")
    units.systemctl("start", "qsupd")
    units.until(lambda: kept() == "2")
    assert (units.status("kept")["pid"], units.status("kept")["phase"]) == (pid, "running")

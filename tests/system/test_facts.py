"""What binds the spawner's unit because a QEMU inherits it for its whole life, and what binds the daemon's alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.system.host import IDLE, Host

SPAWNER = "qsup-spawn.service"
AS_ROOT = f'{IDLE}[qemu]\nuser = "root"\n'
"""What a QEMU inherits shows in one that keeps it."""


def restart(here: Host) -> None:
    here.systemctl("restart", "qsupd", SPAWNER)


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
    """Of the daemon's own mounts and device rules it has none: those of one that has gone would hold for it."""
    units.guests(kept=AS_ROOT)
    units.qsup("start", "kept")
    pid = units.status("kept")["pid"]
    hosts = units.run("readlink", "/proc/1/ns/mnt")
    assert (
        units.run("readlink", f"/proc/{pid}/ns/mnt")
        == hosts
        != units.run("readlink", f"/proc/{units.main_pid()}/ns/mnt")
    )
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
    for unit in (SPAWNER, "qsup-kept.scope"):
        assert units.show(unit, "DevicePolicy") == "auto"
        assert units.show(unit, "DeviceAllow") == ""
        assert units.show(unit, "IPAddressDeny") == ""
        assert units.show(unit, "TasksMax") == "infinity" or unit != SPAWNER
    # As much as the host can give: a container has a limit of its own.
    assert units.show(SPAWNER, "LimitMEMLOCK") == "infinity"
    pids = (units.main_pid(SPAWNER), units.status("kept")["pid"])
    spawners, guests = (units.run("grep", "Max locked memory", f"/proc/{pid}/limits") for pid in pids)
    assert spawners == guests


def test_what_the_spawner_has_not_a_guest_does_not_have_either_and_the_daemon_has_less(units: Host) -> None:
    """What hardening there is holds for every QEMU, for good, and one of its own user has no right at all."""
    units.guests(kept=AS_ROOT, usual=IDLE)
    units.qsup("start", "kept", "usual")
    pids = {
        "daemon": units.main_pid(),
        "spawner": units.main_pid(SPAWNER),
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
    assert lines["spawner"]["Seccomp"] == lines["guest"]["Seccomp"] == "2"
    assert lines["spawner"]["CapBnd"] == lines["guest"]["CapBnd"]
    cap_sys_module, cap_sys_time, cap_sys_boot, cap_setuid, cap_sys_admin = 16, 25, 22, 7, 21
    held = int(lines["guest"]["CapBnd"], 16)
    assert not any(held >> number & 1 for number in (cap_sys_module, cap_sys_time, cap_sys_boot))
    daemon = lines["daemon"]
    less = int(daemon["CapEff"], 16)
    assert not any(less >> number & 1 for number in (cap_setuid, cap_sys_admin))
    assert (daemon["NoNewPrivs"], daemon["Seccomp"]) == ("1", "2")
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


def test_the_daemon_may_not_do_what_it_need_not_and_says_so_to_systemd(units: Host) -> None:
    """By its unit, as systemd has loaded it, and by what somebody with the daemon's rights comes to."""
    exposure = units.run("systemd-analyze", "security", "--threshold=39", "--no-pager", "qsupd.service")
    assert "Overall exposure level for qsupd.service: 3.9" in exposure

    def fails(*words: str) -> str:
        inside = ("nsenter", f"--target={units.main_pid()}", "--mount", "--")
        return units.box.fails(*inside, *words)

    for file in ("/usr/bin/qsup-test", "/proc/sys/kernel/hostname", "/sys/kernel/profiling"):
        assert "Read-only file system" in fails("sh", "-c", f"echo 1 >>{file}")


def test_a_lock_that_is_removed_under_a_guest_makes_no_second_one(units: Host) -> None:
    """The daemon that opened it had mounts of its own, which are gone: only the end of its name is left."""
    units.guests(kept=IDLE)
    units.qsup("start", "kept")
    pid = units.status("kept")["pid"]
    units.run("rm", "/var/lib/qsup/guests/kept/lock")
    for _ in range(2):
        units.systemctl("restart", "qsupd")
        assert (units.status("kept")["pid"], units.status("kept")["phase"]) == (pid, "running")
    assert len(units.run("pgrep", "--exact", "qemu-system-x86").split()) == 1


def test_images_anywhere_but_in_usr_and_boot_are_within_reach(units: Host) -> None:
    """Of those that are not, the message says why, and what is to be done."""
    units.run(
        "sh",
        "-c",
        "for d in /home/qsup-u /usr/share /boot; do mkdir -p -m 700 $d; truncate -s 1M $d/q.img; done",
    )
    units.run("chmod", "600", "/usr/share/q.img", "/boot/q.img")
    disk = '[disk.a]\nfile = "{}"\nformat = "raw"\n'
    units.guests(
        kept=IDLE + disk.format("/home/qsup-u/q.img"),
        usr=IDLE + disk.format("/usr/share/q.img"),
        boot=IDLE + disk.format("/boot/q.img") + "read-only = true\n",
    )
    units.qsup("start", "kept")
    said = units.qsup("start", "usr", fails=True)
    assert (
        "/usr/share/q.img lies on what is mounted read-only, as all of /usr and /boot is for qsupd.service"
        in said
    )
    said = units.qsup("start", "boot", fails=True)
    assert (
        "/boot/q.img: user qsup-qemu, who runs QEMU, cannot be given access to what is mounted read-only"
        in said
    )

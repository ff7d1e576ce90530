"""The unit file: systemd accepts it, and it keeps what guests need to outlive the daemon."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/qsupd.service"

MOUNT_NAMESPACE_OR_DEVICE_RULES = {
    *("PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateDevices", "DevicePolicy", "DeviceAllow"),
    *("ProtectClock", "ProtectKernelModules", "ProtectKernelTunables", "ProtectKernelLogs", "PrivateMounts"),
    *(
        "ProtectControlGroups",
        "ProtectProc",
        "InaccessiblePaths",
        "ReadOnlyPaths",
        "RootDirectory",
        "DynamicUser",
    ),
}
"""Settings that a QEMU would carry on into the time of the next daemon, where they no longer fit."""


def settings() -> dict[str, str]:
    """All settings of the unit; none is given twice."""
    lines = [line for line in UNIT.read_text().splitlines() if line and not line.startswith(("#", "["))]
    pairs = [(key, value) for key, _, value in (line.partition("=") for line in lines)]
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_systemd_finds_no_fault_with_it(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (package systemd)")
    copy = tmp_path / UNIT.name
    # The daemon is not installed in /usr/bin here, and a program that is missing would be the finding.
    copy.write_text(UNIT.read_text().replace("ExecStart=/usr/bin/qsupd", "ExecStart=/bin/true"))
    assert "ExecStart=/bin/true" in copy.read_text()
    done = subprocess.run(
        [analyze, "verify", "--recursive-errors=yes", "--man=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_guests_survive_stop_restart_and_want_of_memory() -> None:
    unit = settings()
    assert unit["KillMode"] == "process"
    assert unit["RuntimeDirectoryPreserve"] == "yes"
    assert unit["OOMPolicy"] == "continue"
    assert "OOMScoreAdjust" not in unit


def test_the_daemon_is_watched_and_always_comes_back() -> None:
    unit = settings()
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == ("always", "0")
    assert unit["WatchdogSec"] == "30s"


def test_no_hardening_outlives_its_sense_in_a_guest() -> None:
    assert not MOUNT_NAMESPACE_OR_DEVICE_RULES & settings().keys()

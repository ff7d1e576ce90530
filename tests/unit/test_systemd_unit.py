"""The units: systemd accepts them, and the daemon's keeps what guests need to outlive it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/qsupd.service"

EXPOSURE = 72
"""Tenths of what `systemd-analyze security` counts; a QEMU, which has none of the daemon's rights, is not counted."""

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


@pytest.fixture
def analyze() -> str:
    """Where ``systemd-analyze`` is."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (package systemd)")
    return found


@pytest.mark.parametrize("whose", ["system", "user"])
def test_systemd_finds_no_fault_with_them(whose: str, analyze: str, tmp_path: Path) -> None:
    copies = []
    for unit in (UNIT.parent if whose == "system" else UNIT.parent / whose).iterdir():
        if unit.suffix in (".service", ".socket", ".slice"):
            # qsup is not installed in /usr/bin here, and a program that is missing would be the finding.
            copies.append(tmp_path / unit.name)
            copies[-1].write_text(re.sub(r"/usr/bin/qsupd?\b", "/bin/true", unit.read_text()))
    done = subprocess.run(
        [analyze, f"--{whose}", "verify", "--recursive-errors=yes", "--man=no", *copies],
        # A user's systemd, which is only asked for what it would say, wants a directory all the same.
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_daemon_is_exposed_no_more_than_its_comments_explain(analyze: str) -> None:
    words = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze looks at running units only")
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


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

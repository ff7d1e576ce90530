"""The units: systemd accepts them, and the daemon's keeps what guests need to outlive it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/qsupd.service"
SPAWNER = UNIT.with_name("qsup-spawn.service")

EXPOSURE = {UNIT: 39, SPAWNER: 71}
"""Tenths of what `systemd-analyze security` counts; a QEMU, which has none of their rights, is not counted."""

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
"""Settings that a QEMU would carry on into a time where they no longer fit."""


def settings(unit: Path) -> dict[str, str]:
    """All settings of a unit; none is given twice, but for lists."""
    lines = [line for line in unit.read_text().splitlines() if line and not line.startswith(("#", "["))]
    pairs = [(key, value) for key, _, value in (line.partition("=") for line in lines)]
    single = [key for key, _ in pairs if key != "DeviceAllow"]
    assert len({*single}) == len(single)
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
            copies[-1].write_text(re.sub(r"/usr/bin/qsup(d|-spawn)?\b", "/bin/true", unit.read_text()))
    done = subprocess.run(
        [analyze, f"--{whose}", "verify", "--recursive-errors=yes", "--man=no", *copies],
        # A user's systemd, which is only asked for what it would say, wants a directory all the same.
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", EXPOSURE, ids=lambda unit: unit.stem)
def test_they_are_exposed_no_more_than_their_comments_explain(unit: Path, analyze: str) -> None:
    words = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE[unit]}", "--no-pager", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze looks at running units only")
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_guests_survive_stop_restart_and_want_of_memory() -> None:
    assert settings(UNIT)["RuntimeDirectoryPreserve"] == "yes"
    for unit in map(settings, EXPOSURE):
        assert unit["KillMode"] == "process"
        assert unit["OOMPolicy"] == "continue"
        assert "OOMScoreAdjust" not in unit


def test_they_are_watched_and_always_come_back() -> None:
    for unit in map(settings, EXPOSURE):
        assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
        assert (unit["Restart"], unit["StartLimitIntervalSec"]) == ("always", "0")
        assert unit["WatchdogSec"] == "30s"


def test_no_hardening_outlives_its_sense_in_a_guest() -> None:
    """The daemon may have any: it executes nothing itself."""
    assert not MOUNT_NAMESPACE_OR_DEVICE_RULES & settings(SPAWNER).keys()
    socket = settings(SPAWNER.with_suffix(".socket"))["ListenStream"]
    assert settings(UNIT)["Environment"] == f"QSUP_SPAWNER={socket}"

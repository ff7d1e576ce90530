"""The tour of the README, on the samples, as `make tour` does it."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_everything_is_as_the_tour_tells(qemu_binary: str) -> None:
    subprocess.run([ROOT / "scripts/build-heartbeat"], check=True, stdin=subprocess.DEVNULL)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/tour"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All was as told." in done.stdout

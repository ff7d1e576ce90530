"""What a QEMU that nobody watched has written tells of its guest's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from qsup.argv.invocation import QEMU_LOG
from qsup.guest.running import Running
from qsup.spec.model import GuestSpec

RUNS = "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)\n"
RESTS = "runstate_set current_run_state 9 (running) new_state 11 (shutdown)\n"
POWER = "qemu_system_shutdown_request reason=6\n"
RESET = "CPU Reset (CPU 0)\nEAX=00000000 EBX=00000000\n"
FAULT = "Triple fault\n"
STAMP = "4711@1700000000.123456:"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("", None),
        (RESET, None),
        (RUNS, None),
        (RESET + RUNS + RESTS, "guest-reset"),
        (RUNS + POWER + RESTS, "guest-shutdown"),
        (STAMP + RUNS + STAMP + POWER + STAMP + RESTS, "guest-shutdown"),
        (STAMP + RUNS + STAMP + RESTS, "guest-reset"),
        (RUNS + FAULT + RESTS, "triple-fault"),
        (RUNS + FAULT + RESTS + RESET + RUNS + RESTS, "guest-reset"),
        (RUNS + POWER + RESTS + RUNS + RESTS, "guest-reset"),
        (RUNS + RESTS + RUNS, None),
    ],
)
def test_what_has_brought_a_guest_to_rest(log: str, cause: str | None, tmp_path: Path) -> None:
    (tmp_path / QEMU_LOG).write_text(log)
    nothing = cast("Any", None)
    running = Running(nothing, nothing, GuestSpec(name="a"), tmp_path, nothing, nothing, nothing)
    assert running.came_to_rest_by() == cause

"""What a QEMU that nobody watched has written tells of its guest's end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from qsup.argv.invocation import QEMU_LOG
from qsup.guest.line import belated
from qsup.guest.running import LOG_SIGHT, Running
from qsup.qmp.session import QmpEvent
from qsup.spec.model import GuestSpec

RUNS = "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)\n"
RESTS = "runstate_set current_run_state 9 (running) new_state 11 (shutdown)\n"
POWER = "qemu_system_shutdown_request reason=6\n"
RESET = "CPU Reset (CPU 0)\nEAX=00000000 EBX=00000000\n"
FAULT = "Triple fault\n"
STAMP = "4711@1700000000.123456:"


def of(run_dir: Path) -> Running:
    """One whose files are here."""
    nothing = cast("Any", None)
    return Running(nothing, nothing, GuestSpec(name="a"), run_dir, nothing, nothing, nothing)


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
        (RUNS + RESET + FAULT + RESET + RESTS, "guest-reset"),
        (RUNS + RESET + FAULT + RESTS, "triple-fault"),
        (RUNS + POWER + RESET + RESTS, "guest-reset"),
        (RUNS + RESTS + RUNS, None),
    ],
)
def test_what_has_brought_a_guest_to_rest(log: str, cause: str | None, tmp_path: Path) -> None:
    (tmp_path / QEMU_LOG).write_text(log)
    assert of(tmp_path).came_to_rest_by() == cause


GUEST: dict[str, Any] = {"guest": True, "reason": "guest-reset"}
HOST: dict[str, Any] = {"guest": False, "reason": "host-qmp-system-reset"}


@pytest.mark.parametrize(
    ("log", "events", "faults"),
    [
        ("", [("RESET", GUEST)], [False]),
        (RESET + FAULT + RESET, [("RESET", GUEST)], [True]),
        (RESET + FAULT + RESET + RESET, [("RESET", GUEST)], [False]),
        (RESET + FAULT + RESET + RESET, [("RESET", GUEST), ("RESET", GUEST)], [True, False]),
        (RESET + FAULT, [("SHUTDOWN", GUEST)], [True]),
        (RESET + FAULT + RESET, [("SHUTDOWN", GUEST)], [False]),
        (RESET + FAULT + RESET, [("SHUTDOWN", GUEST), ("RESET", HOST)], [True, True]),
        (
            RESET + RESET + FAULT + RESET,
            [("RESET", GUEST), ("STOP", {}), ("RESET", GUEST)],
            [False, False, True],
        ),
        (FAULT, [("STOP", {})], [False]),
        (FAULT + RESET, [("RESET", GUEST)] * 3, [False, False, True]),
    ],
)
def test_which_of_the_resets_that_nobody_heard_of_were_triple_faults(
    log: str, events: list[tuple[str, dict[str, Any]]], faults: list[bool], tmp_path: Path
) -> None:
    (tmp_path / QEMU_LOG).write_text(log)
    told = belated([QmpEvent(name, data) for name, data in events], of(tmp_path))
    assert [(one.name, one.triple_fault) for one in told] == list(
        zip((name for name, _ in events), faults, strict=True)
    )


def test_a_triple_fault_is_news_once_and_none_if_nobody_heard_of_its_reset(tmp_path: Path) -> None:
    log = tmp_path / QEMU_LOG
    running = of(tmp_path)
    log.write_text(RESET + FAULT)
    assert (running.saw_triple_fault(), running.saw_triple_fault()) == (True, False)
    with log.open("a") as file:
        file.write(RESET + FAULT + RESET)
    running.disregard_log()
    assert not running.saw_triple_fault()
    with log.open("a") as file:
        file.write("x" * LOG_SIGHT + FAULT)
    assert running.saw_triple_fault()

"""When the checks of a guest's health rest: a guest that cannot answer is not asked. Pure.

What cannot be known is when a machine has left its firmware: no event tells, and its vCPUs look the same. What is
known is when it began, or was reset; and there are signs of a system that runs: its agent has opened its port, its
systemd has spoken, a check has passed. So a guest is taken to be in its firmware until there is a sign, but not for
longer than ``FIRMWARE``; how long its system then takes to come up is what ``start-period`` is for.
"""

from __future__ import annotations

from typing import Final

import msgspec

FIRMWARE: Final = 10.0
"""Seconds in which a machine is through with its firmware."""
RUNNING: Final = "running"
RUN_STATES: Final = {
    "debug": "a debugger has stopped it",
    "colo": "it is the copy of another guest",
    "finish-migrate": "it is being migrated",
    "inmigrate": "it is coming in by migration",
    "internal-error": "an error of the accelerator has stopped it",
    "io-error": "an error of a disk has stopped it",
    "paused": "it is paused",
    "postmigrate": "it has been migrated away",
    "prelaunch": "it has not begun to run",
    "restore-vm": "it is being restored",
    "save-vm": "it is being saved",
    "shutdown": "it has powered itself off",
    "suspended": "it sleeps",
    "watchdog": "its watchdog has stopped it",
    "guest-panicked": "its kernel has panicked",
}
"""QEMU's run states (``RunState`` of its QMP reference) in which the vCPUs do not run, as a guest's reason to rest."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks need to know of a run of a guest. Times are seconds of one clock that never jumps."""

    run_state: str | None
    """The ``status`` of QMP's ``query-status``; None as long as QEMU does not tell."""
    began: float
    """When the machine began to run, or was last reset, whoever did it."""
    resumed: float
    """When the vCPUs last began to run, after a reset, a pause or a snapshot."""
    sign: float | None = None
    """When something last showed that a system runs in it, checks that pass included."""
    leaving: bool = False
    """It is being stopped, or has said that it goes down."""
    maintenance: bool = False
    frozen: bool = False
    """Its file systems are frozen for a backup."""
    job: str | None = None
    """What is being done to it that it may suffer from: ``snapshot``, ``migration``."""


class Rest(msgspec.Struct, frozen=True):
    """Why the checks rest, as a clause; ``until`` when at the latest, if a time ends it and not an event."""

    why: str
    until: float | None = None


def suspended(facts: Facts, now: float) -> Rest | None:
    """Why the checks rest now; None if they do not."""
    why = _why(facts)
    if why is not None:
        return Rest(why)
    seen = facts.sign is not None and facts.sign >= facts.began
    until = facts.began + FIRMWARE
    return None if seen or now >= until else Rest("it may be in its firmware", until)


def _why(facts: Facts) -> str | None:
    if facts.run_state is None:
        return "QEMU does not tell whether it runs"
    if facts.run_state != RUNNING:
        return RUN_STATES.get(facts.run_state, f"its run state is {facts.run_state}")
    if facts.leaving:
        return "it is going down"
    if facts.maintenance:
        return "it is under maintenance"
    if facts.frozen:
        return "its file systems are frozen"
    return f"a {facts.job} is under way" if facts.job else None

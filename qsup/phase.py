"""Where a guest is in its life, and what can be asked of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """What is the case with a guest; the set is closed and every table over it total."""

    STOPPED = "stopped"
    """No process, none wanted by policy or operator."""
    STARTING = "starting"
    """From the decision to launch until the vCPUs run."""
    RUNNING = "running"
    """The vCPUs run."""
    PAUSED = "paused"
    """The process lives, the vCPUs do not run; ``run_state`` holds QEMU's word for why."""
    STOPPING = "stopping"
    """On the way down the stop ladder, or being ended after its guest has ended."""
    BACKOFF = "backoff"
    """No process; the next start is due when the delay has passed."""
    GAVE_UP = "gave-up"
    """No process; too many failures within the window; ``qsup start`` begins anew."""
    UNREACHABLE = "unreachable"
    """The process lives, its QMP session is lost or silent."""


ALIVE: Final = frozenset({Phase.STARTING, Phase.RUNNING, Phase.PAUSED, Phase.STOPPING, Phase.UNREACHABLE})
"""A QEMU process exists, or is just being made."""

ASKABLE: Final = frozenset({Phase.STARTING, Phase.RUNNING, Phase.PAUSED, Phase.UNREACHABLE})
"""A new daemon finds out by itself which of these is the case: it asks QEMU."""


class Verb(StrEnum):
    """What an operator can ask of a guest."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RESET = "reset"
    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"


class Wanted(StrEnum):
    """The operator's last word, which outlives daemon and host."""

    RUNNING = "running"
    STOPPED = "stopped"

"""What is the matter with a guest or its QEMU. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

STALE: Final = 1 / 5
"""Of a timeout: between two looks that are further apart, nobody knows what was."""
EARLIER: Final = 1 / 20
"""Of a timeout: what is seen at one look began about so long before it, half the time since the last."""


class Condition(StrEnum):
    """The conditions that are told apart; those that are causes of an end are spelled as in ``qsup.cause``."""

    WELL = "well"
    QEMU_STOPPED = "qemu-stopped"
    """A signal has stopped the process."""
    QEMU_TRACED = "qemu-traced"
    """A debugger has stopped the process: somebody is at work there, and it is to be left alone."""
    QEMU_HUNG = "qemu-hung"
    """The main loop answers nothing, and nothing of the host's explains it."""
    QMP_LOST = "qmp-lost"
    """The process lives and no session to it can be had."""
    HOST_STALLED = "host-stalled"
    """QEMU waits for the host: for storage, for memory, for a CPU. Killing it would not help, and may not even work."""
    GUEST_HUNG = "guest-hung"
    """QEMU is well, and no vCPU of its guest makes any progress."""


class Verdict(msgspec.Struct, frozen=True):
    """A condition, and what it was concluded from."""

    condition: Condition = Condition.WELL
    since: float | None = None
    """When it began, as exactly as is known."""
    evidence: tuple[str, ...] = ()
    """Sentences for people, the most telling first."""


WELL: Final = Verdict()


def seconds(value: float) -> str:
    """A length of time in a sentence."""
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s"

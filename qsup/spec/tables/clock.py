"""The guest's clocks. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from qsup.spec.base import Section, about


class ClockBase(StrEnum):
    """What the clock on the board shows."""

    UTC = "utc"
    LOCALTIME = "localtime"


class DriftFix(StrEnum):
    """What becomes of ticks of the clock on the board that the guest has missed."""

    NONE = "none"
    SLEW = "slew"


class PitTick(StrEnum):
    """What becomes of ticks of the interval timer that the guest has missed."""

    DELAY = "delay"
    DISCARD = "discard"


class Clock(Section, frozen=True, kw_only=True):
    """The guest's clocks."""

    base: Annotated[
        ClockBase,
        about(
            "What the clock on the board shows: `utc`; Windows expects `localtime`, which is that of the daemon.",
            qemu="-rtc base=",
        ),
    ] = ClockBase.UTC
    drift_fix: Annotated[
        DriftFix,
        about(
            "`slew` delivers missed ticks of that clock later, for 32-bit Windows and others that count them.",
            qemu="-rtc driftfix=",
        ),
    ] = DriftFix.NONE
    hpet: Annotated[
        bool | None,
        about(
            "Whether there is an HPET. Without it QEMU decides; Windows under KVM runs better with `false`.",
            qemu="-machine hpet=",
        ),
    ] = None
    pit_tick: Annotated[
        PitTick | None,
        about(
            "Under KVM, missed ticks of the interval timer: `delay` delivers them later, `discard` drops them. Without it QEMU decides.",
            qemu="-global kvm-pit.lost_tick_policy=",
        ),
    ] = None

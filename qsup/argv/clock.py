"""The guest's clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.board import Board
from qsup.argv.invocation import Option
from qsup.argv.quote import pairs
from qsup.errors import SpecError
from qsup.spec.tables.clock import Clock
from qsup.spec.tables.machine import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """What differs from QEMU's own choice."""
    clock = draft.spec.clock
    if (clock.base, clock.drift_fix) != (Clock().base, Clock().drift_fix):
        yield Option("-rtc", pairs(base=clock.base, driftfix=clock.drift_fix))
    if clock.hpet is not None:
        if draft.board is Board.MICROVM:
            raise SpecError("clock.hpet: a microvm never has an HPET")
        yield Option("-machine", pairs(hpet=clock.hpet))
    if clock.pit_tick is not None and draft.accel is Accel.KVM:
        yield Option("-global", pairs(driver="kvm-pit", property="lost_tick_policy", value=clock.pit_tick))

"""What is to be watched about a guest at present, out of its state. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from qsup.cause import Cause
from qsup.phase import Phase
from qsup.spec.base import Section
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.guest.state import Launch, State
    from qsup.spec.model import GuestSpec


class Watch(Enum):
    """The kinds of watching."""

    READY = "whether it is ready"
    HEALTH = "its health"
    PULSE = "whether QEMU and the guest make progress"
    SPACE = "whether there is room on the host's disk"


class Duty(msgspec.Struct, frozen=True):
    """Something to watch. One whose ``epoch`` differs is another one, which begins anew."""

    watch: Watch
    what: str = ""
    """The name of the check, the id of the disk."""
    epoch: tuple[str | int, ...] = ()
    table: Section | None = None
    """What the guest's file says about it."""


def duties(state: State, spec: GuestSpec) -> frozenset[Duty]:
    """All that is to be watched now."""
    launch = state.launch
    return (
        frozenset(_duties(state, spec, launch))
        if launch is not None and launch.pid is not None
        else frozenset()
    )


def _duties(state: State, spec: GuestSpec, launch: Launch) -> Iterator[Duty]:
    running = state.phase is Phase.RUNNING
    boot = (launch.token, launch.resets)
    if running and launch.ready_after is None and spec.ready.check is not ReadyCheck.RUNNING:
        yield Duty(Watch.READY, epoch=boot, table=spec.ready)
    if running or state.phase is Phase.PAUSED:
        yield from (Duty(Watch.HEALTH, one.name, (launch.token,), one) for one in spec.health)
    expected = state.phase in (Phase.RUNNING, Phase.PAUSED, Phase.UNREACHABLE)
    if expected and (spec.hang.qemu_timeout or spec.hang.guest_timeout):
        yield Duty(Watch.PULSE, epoch=(launch.token,), table=spec.hang)
    ill = state.ill
    if state.phase is Phase.PAUSED and ill is not None and ill.cause is Cause.NO_SPACE:
        yield Duty(Watch.SPACE, launch.disk.node if launch.disk else "", (launch.token, launch.retries))

"""How a guest stands, as its events tell it one after the other. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.cause import Cause
from qsup.events import Kind
from qsup.history.kept import Own
from qsup.phase import Phase, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

READY: Final = "GUEST_READY"
"""A guest that runs already became ready."""
TELLING: Final = (
    Kind.PHASE.value,
    Kind.ENDED.value,
    Kind.STATUS.value,
    Kind.SPEC.value,
    READY,
    Own.FOUND.value,
)
"""The kinds of events that figures are made of."""


class Standing(msgspec.Struct, frozen=True):
    """Where a guest is in its life, as far as the history needs to know."""

    phase: str
    ready: bool
    wanted: str

    @property
    def up(self) -> bool:
        """Whether it does what it is there for."""
        return self.ready and self.phase == Phase.RUNNING

    @property
    def missed(self) -> bool:
        """Whether it is wanted and not up."""
        return self.wanted == Wanted.RUNNING and not self.up


FORGOTTEN: Final = Standing(Phase.STOPPED.value, ready=False, wanted=Wanted.STOPPED.value)
"""A guest that there is no more."""


def after(standing: Standing | None, kind: str, data: Mapping[str, Any]) -> Standing | None:
    """How the guest stands after an event; None as long as no event has told it."""
    if kind in (Kind.PHASE, Own.FOUND):
        return _told(standing, data)
    if kind == Kind.SPEC and data.get("change") == "forgotten":
        return FORGOTTEN
    if standing is None:
        return None
    if kind == READY:
        return msgspec.structs.replace(standing, ready=True)
    if kind == Kind.ENDED:
        # If it was a restart that the operator wanted, the next phase says so.
        wanted = Wanted.STOPPED.value if data.get("cause") == Cause.OPERATOR else standing.wanted
        return Standing(Phase.STOPPED.value, ready=False, wanted=wanted)
    return standing


def _told(before: Standing | None, data: Mapping[str, Any]) -> Standing:
    phase = str(data.get("phase"))
    return Standing(phase, data.get("ready") is True, _wanted(before, phase, data.get("wanted")))


def _wanted(before: Standing | None, phase: str, told: object) -> str:
    """What is wanted; an event that does not tell it leaves it as it was, or to be seen from the phase."""
    if isinstance(told, str):
        return told
    if before is not None and phase in (Phase.STOPPED, Phase.STOPPING):
        return before.wanted
    return (Wanted.STOPPED if phase == Phase.STOPPED else Wanted.RUNNING).value

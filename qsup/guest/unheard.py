"""What QEMU told while no daemon listened: what it still means. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.guest.happening import happened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.guest.inputs import Happened
    from qsup.guest.turn import Turn
    from qsup.qmp.session import QmpEvent

STANDS_STILL: Final = frozenset({"SHUTDOWN", "GUEST_PANICKED"})
"""Events after which a guest runs only if somebody has brought it back."""


def current(events: Iterable[QmpEvent], run_state: str) -> list[QmpEvent]:
    """The events that still matter to a guest that lives, in this run state."""
    return [
        event
        for event in events
        if run_state != "running" or event.name not in STANDS_STILL or event.data.get("action") == "run"
    ]


def recall(turn: Turn, events: Iterable[Happened]) -> None:
    """Take the events of a run that is over as evidence; there is nothing left that could be done about them."""
    asked = len(turn.effects)
    for event in events:
        if turn.state.launch is not None:
            happened(turn, event)
    del turn.effects[asked:]

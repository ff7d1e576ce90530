"""An operator who works on a guest, and does not want it to be rescued from that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.guest import hang
from qsup.guest.effects import Arm, Cancel, Reply
from qsup.guest.turn import MAINTENANCE
from qsup.units import Duration

if TYPE_CHECKING:
    from qsup.guest.inputs import Maintenance
    from qsup.guest.turn import Turn


def maintain(turn: Turn, wish: Maintenance) -> None:
    """Begin it, put its end off, or end it."""
    if wish.until is not None:
        seconds = max(0.0, wish.until - turn.env.now)
        turn.set(maintenance=wish.until)
        turn.do(Arm(MAINTENANCE, seconds))
        turn.notice(f"{wish.by} works on it: its health is not checked, and nothing is done about a hang")
        turn.do(Reply(f"under maintenance for {Duration(round(seconds))}"))
    elif turn.state.maintenance is None:
        turn.do(Reply("not under maintenance"))
    else:
        turn.do(Cancel(MAINTENANCE), Reply("no longer under maintenance"))
        _over(turn, f"{wish.by} has done with it")


def time_is_up(turn: Turn) -> None:
    """The time that the operator asked for has passed."""
    if turn.state.maintenance is not None:
        _over(turn, "the time for its maintenance has passed")


def _over(turn: Turn, why: str) -> None:
    turn.set(maintenance=None)
    turn.notice(f"{why}; its health counts again")
    # What hangs is answered from the first stage on.
    hang.go_on(turn)


def resume(turn: Turn) -> None:
    """A new daemon takes up the time that is left."""
    until = turn.state.maintenance
    if until is not None:
        turn.do(Arm(MAINTENANCE, max(0.0, until - turn.env.now)))

"""The stop ladder: ask the guest, method by method, then QEMU, then the kernel.

``stop.methods`` are tried in order, the last one again every ``stop.repeat``, until ``stop.timeout`` is over or
the guest has powered itself off; then follow QMP's ``quit``, SIGTERM and SIGKILL, each with ``PATIENCE``.

When all guests are stopped within one time, a guest may have less than that. Then what it has is shared out anew: the
hard rungs have a tenth of it each, and the guest itself the rest.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from qsup.guest.effects import Arm, AskAgent, Cancel, Qmp, Signal
from qsup.guest.state import Descent
from qsup.guest.turn import DEADLINE, HARD, PRESS
from qsup.phase import Phase
from qsup.spec.policy import StopMethod
from qsup.units import Duration

if TYPE_CHECKING:
    from qsup.guest.turn import Turn
    from qsup.spec.model import GuestSpec

PATIENCE: Final = 5.0
"""Seconds that each of the hard rungs has before the next; QEMU quits within milliseconds when it is well."""
HASTE: Final = 0.1
"""The share of a guest's time, where that is short, that each of the hard rungs has."""
QUIT: Final = "quit"
SIGTERM: Final = "SIGTERM"
SIGKILL: Final = "SIGKILL"


def descend(turn: Turn, reason: str, *, ours: bool = False) -> None:
    """Set foot on the ladder; ``ours``: by a rule."""
    was = turn.state.phase
    started = turn.state.launch is not None and turn.state.launch.running_since is not None
    turn.enter(Phase.STOPPING, reason)
    turn.set(descent=Descent("", -1, 0, turn.env.now, ours))
    if not turn.state.connected:
        _sigterm(turn)
    elif not started or not turn.env.spec.stop.methods:
        quit_qemu(turn)
    else:
        if was is Phase.PAUSED:
            # A guest whose vCPUs stand still can answer to nothing, so it gets the chance to shut down properly.
            turn.qmp("cont")
        turn.do(Arm(DEADLINE, float(turn.env.spec.stop.timeout)))
        press(turn)
    hurry(turn)


def need(spec: GuestSpec) -> float:
    """The seconds that the whole ladder may take by the guest's file, to SIGKILL."""
    asking = float(spec.stop.timeout) if spec.stop.methods else 0.0
    return asking + 2 * PATIENCE


def is_hard(spec: GuestSpec, rung: str | None) -> bool:
    """Whether a guest that this rung has ended would have had a chance to end otherwise."""
    return rung in (SIGTERM, SIGKILL) or (rung == QUIT and bool(spec.stop.methods))


def hurry(turn: Turn) -> None:
    """Have the ladder end by the time that the guest has to be gone, if there is one."""
    if turn.state.leave is None or turn.state.descent is None:
        return
    left = max(0.0, turn.state.leave.until - turn.env.now)
    if turn.descent.rung in (QUIT, SIGTERM):
        turn.do(Arm(HARD, _patience(turn)))
    elif turn.descent.rung not in ("", SIGKILL):
        since = turn.env.now - turn.descent.began
        asking = float(turn.env.spec.stop.timeout) - since
        turn.do(Arm(DEADLINE, max(0.0, min(asking, left - 2 * min(PATIENCE, HASTE * left)))))


def _patience(turn: Turn) -> float:
    """The seconds that the present hard rung has before the next."""
    if turn.state.leave is None:
        return PATIENCE
    rungs = 2 if turn.descent.rung == QUIT else 1
    return min(PATIENCE, max(0.0, turn.state.leave.until - turn.env.now) / rungs)


def press(turn: Turn) -> None:
    """Ask the guest by the next method, or by the last one again."""
    methods = turn.env.spec.stop.methods
    index = min(turn.descent.method + 1, len(methods) - 1)
    if not turn.state.connected or index < 0:
        return
    method = methods[index]
    presses = turn.descent.presses + 1 if index == turn.descent.method else 1
    turn.set(descent=replace(turn.descent, rung=method.value, method=index, presses=presses))
    turn.do(AskAgent() if method is StopMethod.AGENT else Qmp("system_powerdown"))
    turn.do(Arm(PRESS, max(float(turn.env.spec.stop.repeat), 0.1)))


def agent_failed(turn: Turn, error: str) -> None:
    """The agent is no help: go on to the next method at once, if there is one."""
    if turn.state.descent is None or turn.descent.rung != StopMethod.AGENT.value:
        return
    turn.notice(f"the guest agent did not shut the guest down: {error}")
    if turn.descent.method + 1 < len(turn.env.spec.stop.methods):
        press(turn)


def time_is_up(turn: Turn) -> None:
    """The guest had its time; now QEMU is told."""
    took = Duration(round(turn.env.now - turn.descent.began, 1))
    turn.notice(f"the guest did not stop within {took}; QEMU is told to quit")
    if turn.state.connected:
        quit_qemu(turn)
    else:
        _sigterm(turn)


def quit_qemu(turn: Turn) -> None:
    """Rung ``quit``."""
    _rung(turn, QUIT)
    turn.qmp("quit")


def harder(turn: Turn) -> None:
    """The next of the hard rungs."""
    if turn.descent.rung == QUIT:
        _sigterm(turn)
    elif turn.descent.rung == SIGTERM:
        sigkill(turn)


def _sigterm(turn: Turn) -> None:
    _rung(turn, SIGTERM)
    if turn.state.pid is not None:
        turn.do(Signal(signal.SIGTERM))


def sigkill(turn: Turn) -> None:
    """The last rung. A process that survives it hangs in the kernel; there is nothing left to do but wait."""
    _rung(turn, SIGKILL)
    turn.do(Cancel(HARD))
    if turn.state.pid is not None:
        turn.do(Signal(signal.SIGKILL))


def _rung(turn: Turn, rung: str) -> None:
    begun = turn.state.descent or Descent("", -1, 0, turn.env.now, turn.state.ending is not None)
    turn.set(descent=replace(begun, rung=rung, method=len(turn.env.spec.stop.methods), presses=1))
    turn.do(Cancel(PRESS), Cancel(DEADLINE), Arm(HARD, _patience(turn)))

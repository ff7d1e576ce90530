"""What each verb does in each phase: one total table, and a function for each deed in it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from qsup.guest import ladder
from qsup.guest.effects import Arm, Cancel, Reply
from qsup.guest.state import STANDING
from qsup.guest.turn import BACKOFF, REARM
from qsup.phase import Phase, Verb, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.guest.state import Leave
    from qsup.guest.turn import Turn

REARM_AFTER: Final = 10.0
"""Seconds after a reset in which a guest's own reset is not taken for an end."""


class Deed(Enum):
    """What a verb comes to; the value is the README's word for it."""

    LAUNCH = "launches QEMU"
    LATER = "starts it again once it is down"
    ALREADY = "nothing to do"
    REST = "stays stopped"
    CANCEL = "gives up the next start"
    DESCEND = "goes down the stop ladder"
    GO_ON = "goes on down, stays off then"
    CYCLE = "stop ladder, then launches QEMU"
    KILL = "SIGKILL"
    RESET = "resets the machine"
    PAUSE = "stops the vCPUs"
    RESUME = "lets the vCPUs run"
    REFUSE = "refused"


TABLE: Final[dict[Verb, dict[Phase, Deed]]] = {
    Verb.START: {
        Phase.STOPPED: Deed.LAUNCH, Phase.STARTING: Deed.ALREADY, Phase.RUNNING: Deed.ALREADY,
        Phase.PAUSED: Deed.ALREADY, Phase.STOPPING: Deed.LATER, Phase.BACKOFF: Deed.LAUNCH,
        Phase.GAVE_UP: Deed.LAUNCH, Phase.UNREACHABLE: Deed.ALREADY,
    },
    Verb.STOP: {
        Phase.STOPPED: Deed.REST, Phase.STARTING: Deed.DESCEND, Phase.RUNNING: Deed.DESCEND,
        Phase.PAUSED: Deed.DESCEND, Phase.STOPPING: Deed.GO_ON, Phase.BACKOFF: Deed.CANCEL,
        Phase.GAVE_UP: Deed.CANCEL, Phase.UNREACHABLE: Deed.DESCEND,
    },
    Verb.RESTART: {
        Phase.STOPPED: Deed.LAUNCH, Phase.STARTING: Deed.ALREADY, Phase.RUNNING: Deed.CYCLE,
        Phase.PAUSED: Deed.CYCLE, Phase.STOPPING: Deed.LATER, Phase.BACKOFF: Deed.LAUNCH,
        Phase.GAVE_UP: Deed.LAUNCH, Phase.UNREACHABLE: Deed.CYCLE,
    },
    Verb.RESET: {
        Phase.STOPPED: Deed.REFUSE, Phase.STARTING: Deed.REFUSE, Phase.RUNNING: Deed.RESET,
        Phase.PAUSED: Deed.RESET, Phase.STOPPING: Deed.REFUSE, Phase.BACKOFF: Deed.REFUSE,
        Phase.GAVE_UP: Deed.REFUSE, Phase.UNREACHABLE: Deed.REFUSE,
    },
    Verb.KILL: {
        Phase.STOPPED: Deed.REST, Phase.STARTING: Deed.KILL, Phase.RUNNING: Deed.KILL,
        Phase.PAUSED: Deed.KILL, Phase.STOPPING: Deed.KILL, Phase.BACKOFF: Deed.CANCEL,
        Phase.GAVE_UP: Deed.CANCEL, Phase.UNREACHABLE: Deed.KILL,
    },
    Verb.PAUSE: {
        Phase.STOPPED: Deed.REFUSE, Phase.STARTING: Deed.REFUSE, Phase.RUNNING: Deed.PAUSE,
        Phase.PAUSED: Deed.ALREADY, Phase.STOPPING: Deed.REFUSE, Phase.BACKOFF: Deed.REFUSE,
        Phase.GAVE_UP: Deed.REFUSE, Phase.UNREACHABLE: Deed.REFUSE,
    },
    Verb.RESUME: {
        Phase.STOPPED: Deed.REFUSE, Phase.STARTING: Deed.REFUSE, Phase.RUNNING: Deed.ALREADY,
        Phase.PAUSED: Deed.RESUME, Phase.STOPPING: Deed.REFUSE, Phase.BACKOFF: Deed.REFUSE,
        Phase.GAVE_UP: Deed.REFUSE, Phase.UNREACHABLE: Deed.REFUSE,
    },
}  # fmt: skip


def obey(turn: Turn, verb: Verb, by: str, *, lasting: bool = True, leave: Leave | None = None) -> None:
    """Do what the table says, and answer."""
    deed = TABLE[verb][turn.state.phase]
    if deed is Deed.REFUSE:
        turn.do(Reply(_refusal(turn, verb), refused=True))
        return
    turn.set(trouble=None)
    if verb in (Verb.START, Verb.RESTART):
        turn.set(wanted=Wanted.RUNNING, commanded=True)
    elif verb in (Verb.STOP, Verb.KILL):
        turn.set(start_after=False, leave=leave or turn.state.leave)
        if lasting:
            turn.set(wanted=Wanted.STOPPED, commanded=True, leave=None)
    turn.do(Reply(_DEEDS[deed](turn, by)))
    if leave is not None:
        ladder.hurry(turn)


def _refusal(turn: Turn, verb: Verb) -> str:
    phase = turn.state.phase
    admitted = " or ".join(other for other, deed in TABLE[verb].items() if deed is not Deed.REFUSE)
    return f"cannot {verb} a guest that is {phase} ({turn.state.reason}); it must be {admitted}"


def _launch(turn: Turn, by: str) -> str:
    turn.set(failures=(), resets=(), streak=0, restarts=0)
    turn.spawn(f"{by} started it")
    return "starting"


def _later(turn: Turn, by: str) -> str:
    turn.set(start_after=True, failures=(), resets=(), streak=0, restarts=0)
    turn.notice(f"{by} wants it started again once it is down")
    return "is stopping; starts again once it is down"


def _already(turn: Turn, _by: str) -> str:
    return f"already {turn.state.phase}"


def _rest(turn: Turn, _by: str) -> str:
    return "already stopped" if turn.state.phase is Phase.STOPPED else "stays stopped"


def _cancel(turn: Turn, by: str) -> str:
    turn.do(Cancel(BACKOFF))
    turn.set(next_try=None, failures=(), resets=(), streak=0)
    turn.enter(Phase.STOPPED, f"{by} stopped it")
    return "stopped; no further start is tried"


def _descend(turn: Turn, by: str) -> str:
    ladder.descend(turn, f"{by} stops it")
    return "stopping"


def _go_on(turn: Turn, by: str) -> str:
    turn.enter(Phase.STOPPING, f"{by} stops it")
    if turn.state.descent is None and turn.state.ending is None:
        ladder.descend(turn, f"{by} stops it")
    return "already stopping"


def _cycle(turn: Turn, by: str) -> str:
    ladder.descend(turn, f"{by} restarts it")
    turn.set(start_after=True, failures=(), resets=(), streak=0, restarts=0)
    return "restarting"


def _kill(turn: Turn, by: str) -> str:
    turn.enter(Phase.STOPPING, f"{by} kills it")
    ladder.sigkill(turn)
    return "killing"


def _reset(turn: Turn, by: str) -> str:
    turn.notice(f"{by} resets it")
    turn.set(pending="system_reset")
    reset_machine(turn)
    return "resetting"


def _pause(turn: Turn, by: str) -> str:
    turn.notice(f"{by} pauses it")
    turn.set(pending="stop")
    turn.qmp("stop")
    return "pausing"


def _resume(turn: Turn, by: str) -> str:
    turn.notice(f"{by} resumes it")
    turn.set(pending="cont")
    turn.qmp("cont")
    return "resuming"


def reset_machine(turn: Turn) -> None:
    """Reset, and let the vCPUs run again if it was an end that had stopped them.

    Under ``reboot=shutdown`` QEMU takes our own reset for an end, and SeaBIOS resets a machine that it finds
    booted once more itself; so that action is suspended until the firmware is surely through.
    """
    turn.qmp("set-action", reboot="reset")
    turn.qmp("system_reset")
    if turn.env.spec.restart.on.rests_at_reset:
        turn.do(Arm(REARM, REARM_AFTER))
    if turn.state.run_state in STANDING:
        turn.qmp("cont")


def rearm(turn: Turn) -> None:
    """From now on QEMU stands still at the guest's resets again, if there is a rule for them."""
    if turn.state.connected and turn.env.spec.restart.on.rests_at_reset:
        turn.qmp("set-action", reboot="shutdown")


_DEEDS: Final[dict[Deed, Callable[[Turn, str], str]]] = {
    Deed.LAUNCH: _launch,
    Deed.LATER: _later,
    Deed.ALREADY: _already,
    Deed.REST: _rest,
    Deed.CANCEL: _cancel,
    Deed.DESCEND: _descend,
    Deed.GO_ON: _go_on,
    Deed.CYCLE: _cycle,
    Deed.KILL: _kill,
    Deed.RESET: _reset,
    Deed.PAUSE: _pause,
    Deed.RESUME: _resume,
}

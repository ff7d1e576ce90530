"""When the deed of a verb is done, and how it went. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qsup.phase import Phase, Verb, Wanted

if TYPE_CHECKING:
    from qsup.guest.state import State


class Outcome(msgspec.Struct, frozen=True):
    """How it went, as a sentence without a subject."""

    ok: bool
    text: str


def outcome(verb: Verb, state: State, *, ready: bool = False) -> Outcome | None:
    """What became of a verb that was accepted; None as long as it is not decided.

    ``ready``: a start is done only when the guest is ready.
    """
    match verb:
        case Verb.START | Verb.RESTART:
            return _started(state, ready=ready)
        case Verb.STOP | Verb.KILL:
            return _stopped(state)
        case Verb.PAUSE:
            return _executed(state, Phase.PAUSED)
        case Verb.RESUME:
            return _executed(state, Phase.RUNNING)
        case Verb.RESET:
            return _executed(state, state.phase)


def _started(state: State, *, ready: bool) -> Outcome | None:
    match state.phase:
        case Phase.RUNNING if state.ready:
            return Outcome(ok=True, text=f"running{' and ready' * ready}, pid {state.pid}")
        case Phase.RUNNING:
            return None if ready else Outcome(ok=True, text=f"running, pid {state.pid}, not ready yet")
        case Phase.PAUSED:
            return Outcome(ok=True, text=f"paused: {state.reason}")
        case Phase.STARTING | Phase.STOPPING:
            return None
        case _:
            return Outcome(ok=False, text=f"{state.phase}: {state.reason}")


def _stopped(state: State) -> Outcome | None:
    if state.phase is Phase.STOPPED:
        end = state.last_end
        return Outcome(ok=True, text=f"stopped by {end.stopped_by}" if end and end.stopped_by else "stopped")
    if state.wanted is Wanted.RUNNING and state.leave is None:
        return Outcome(ok=False, text=f"{state.phase}: somebody wants it running again")
    return None


def _executed(state: State, goal: Phase) -> Outcome | None:
    if state.pending is not None:
        return None
    if state.trouble is not None:
        return Outcome(ok=False, text=f"QEMU refused: {state.trouble}")
    if state.phase is goal:
        return Outcome(ok=True, text=state.phase.value)
    return None if state.phase in (Phase.RUNNING, Phase.PAUSED) else Outcome(ok=False, text=state.reason)

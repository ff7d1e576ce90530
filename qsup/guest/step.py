"""The life of one guest as a pure function: ``step(state, input, env) -> (state, effects)``.

Every pair of phase and input has an answer; what makes no sense in a phase (a late timer, a repeated event of a
QEMU that lies) changes nothing. Each change of what must outlive the daemon ends in ``Persist``, each change of
phase in an event; nothing is announced or answered, and nothing done by which QEMU may end, before it is persisted.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, assert_never

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import disks, ending, hang, ladder, maintenance, mending, readiness, verbs
from qsup.guest import inputs as i
from qsup.guest.effects import (
    Arm,
    AskAgent,
    Collect,
    Connect,
    Effect,
    Persist,
    Publish,
    Qmp,
    Reply,
    Signal,
)
from qsup.guest.happening import found, observe
from qsup.guest.happening import happened as event_happened
from qsup.guest.response import quit_empty
from qsup.guest.restore import restore
from qsup.guest.state import OVER, Ending, State
from qsup.guest.turn import (
    BACKOFF,
    CALM,
    DEADLINE,
    ENDING,
    HARD,
    HELPERS,
    MAINTENANCE,
    PRESS,
    READY,
    REARM,
    RECONNECT,
    REWRITE,
    STABLE,
    STAGE,
    Env,
    Turn,
)
from qsup.phase import ASKABLE, Phase, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE: Final = 0.2
"""Seconds between a lost session and the first try to reconnect: a QEMU that ends loses its session first."""
RETRY: Final = 5.0
"""Seconds between tries to reconnect, or a quarter of the time after which a QEMU counts as hung, if that is less."""

ENDS_IT: Final = frozenset({"quit", "system_powerdown"})
"""QMP commands by which QEMU may end."""


def step(state: State, happened: i.Input, env: Env) -> tuple[State, list[Effect]]:
    """Answer an input: the new state, and what is to be done, in order."""
    turn = Turn(state, env)
    _dispatch(turn, happened)
    deeds: list[Effect] = [
        effect for effect in turn.effects if not isinstance(effect, Publish | Reply | Collect)
    ]
    words = [effect for effect in turn.effects if isinstance(effect, Publish | Reply)]
    # That a process has ended no crash of ours can undo, so it is told at once: before what follows is written down.
    deeds += [word for word in words if _is_end(word)]
    words = [word for word in words if not _is_end(word)]
    new = turn.state
    if _lasting(new) != _lasting(state):
        deeds.insert(0 if any(map(_may_end_it, deeds)) else len(deeds), Persist())
    if (new.phase, new.reason) != (state.phase, state.reason):
        words.insert(0, Publish(Kind.PHASE, _news(state, new)))
    # A bundle takes its time, and knows more once its cause has been announced.
    return new, [*deeds, *words, *(effect for effect in turn.effects if isinstance(effect, Collect))]


def _news(old: State, new: State) -> dict[str, object]:
    return {
        "phase": new.phase.value,
        "was": old.phase.value,
        "ready": new.ready,
        "wanted": new.wanted.value,
        "reason": new.reason,
    }


def _is_end(word: Effect) -> bool:
    return isinstance(word, Publish) and word.kind is Kind.ENDED


def _may_end_it(effect: Effect) -> bool:
    """Whether QEMU may end by it: a daemon that dies in that moment must have left word of who wanted that, and why."""
    return isinstance(effect, Signal | AskAgent) or (isinstance(effect, Qmp) and effect.command in ENDS_IT)


def _lasting(state: State) -> tuple[object, ...]:
    """What the next daemon must know and cannot ask QEMU; a disk is waited for only when this changes.

    A machine that was reset while it was paused looks to QEMU itself as if it had never been started.
    """
    askable = state.phase in ASKABLE and state.phase is not Phase.PAUSED
    return (
        None if askable else state.phase, state.wanted, state.commanded, state.ending,
        state.descent is None, state.leave, state.start_after, state.failures, state.streak, state.resets,
        state.next_try, state.last_end, state.restarts, state.maintenance,
        (state.launch and state.launch.ready_after) or None,
    )  # fmt: skip


def _dispatch(turn: Turn, happened: i.Input) -> None:
    match happened:
        case i.Command(verb, by, lasting, leave):
            verbs.obey(turn, verb, by, lasting=lasting, leave=leave)
        case i.Due():
            _due(turn)
        case i.Spawned():
            _spawned(turn, happened)
        case i.LaunchFailed(detail):
            if turn.state.phase in (Phase.STARTING, Phase.STOPPING):
                ending.launch_failed(turn, detail)
        case i.Connected():
            _connected(turn, happened)
        case i.ConnectFailed(detail, late):
            _connect_failed(turn, detail, late=late)
        case i.Lost(detail):
            _lost(turn, detail)
        case i.Happened():
            if turn.state.launch is not None:
                event_happened(turn, happened)
        case i.RunState(run_state):
            if turn.state.launch is not None and turn.state.connected:
                observe(turn, run_state)
        case i.QmpDone(command, error):
            _qmp_done(turn, command, error)
        case i.AgentAnswered(error):
            if error is not None:
                ladder.agent_failed(turn, error)
        case i.Exited():
            if turn.state.launch is not None:
                ending.process_ended(turn, happened)
        case i.StatusKnown(status):
            ending.status_known(turn, status)
        case i.Timer(name):
            _TIMERS[name](turn)
        case i.Restored():
            restore(turn, happened)
        case _:
            _watched(turn, happened)


def _watched(turn: Turn, happened: i.Watched) -> None:
    """What those tell who watch a guest that lives."""
    match happened:
        case i.HelperExited():
            mending.helper_exited(turn, happened)
        case i.NotReady(detail):
            if turn.state.launch is not None:
                turn.set_launch(not_ready=detail)
        case i.Ready(detail):
            readiness.passed(turn, detail)
        case i.Health():
            readiness.health(turn, happened)
        case i.Pulse():
            hang.pulse(turn, happened)
        case i.Space(detail):
            disks.space(turn, detail)
        case i.Maintenance():
            maintenance.maintain(turn, happened)
        case _:
            assert_never(happened)


def _due(turn: Turn) -> None:
    overruled = turn.state.commanded and turn.state.wanted is Wanted.STOPPED
    if turn.state.phase in (Phase.STOPPED, Phase.BACKOFF, Phase.GAVE_UP) and not overruled:
        turn.set(wanted=Wanted.RUNNING)
        turn.spawn("its turn at start-up has come")


def _spawned(turn: Turn, spawned: i.Spawned) -> None:
    if turn.state.launch is None:
        return
    turn.set_launch(token=spawned.token, pid=spawned.pid, accel=spawned.accel)
    if turn.state.descent is not None:
        # The operator was faster than the launch.
        rung = turn.state.descent.rung
        turn.do(Signal(signal.SIGKILL if rung == ladder.SIGKILL else signal.SIGTERM))


def _connected(turn: Turn, connected: i.Connected) -> None:
    if turn.state.launch is None:
        return
    turn.set(connected=True, run_state=connected.run_state)
    hang.reconnected(turn)
    if turn.state.phase is Phase.STOPPING:
        _go_on_stopping(turn)
        return
    if turn.launch.adopted:
        # The last daemon may have died between a reset and the end of its grace.
        verbs.rearm(turn)
    found(turn, connected.run_state, connected.rests_by)


def _go_on_stopping(turn: Turn) -> None:
    """A new daemon takes up a stop that the last one had begun, with a session or without."""
    known = turn.state.ending is not None and turn.state.descent is None
    if known or turn.state.run_state in OVER:
        # What is left is an empty machine; one that is shut down still has its guest.
        if turn.state.connected:
            quit_empty(turn)
        else:
            turn.do(Signal(signal.SIGKILL))
    elif turn.state.descent is not None and not turn.descent.rung:
        ladder.descend(turn, turn.state.reason, ours=turn.descent.ours)


def _connect_failed(turn: Turn, detail: str, *, late: bool = False) -> None:
    state = turn.state
    if state.launch is None:
        return
    if state.phase is Phase.STOPPING:
        _go_on_stopping(turn)
        return
    if state.phase is Phase.STARTING and not state.launch.adopted:
        turn.set(ending=Ending(Cause.START_TIMEOUT if late else Cause.START_FAILED, detail))
        turn.do(Signal(signal.SIGKILL))
        return
    turn.enter(Phase.UNREACHABLE, detail)
    hung = float(turn.env.spec.hang.qemu_timeout)
    turn.do(Arm(RECONNECT, min(RETRY, hung / 4 or RETRY)))


def _lost(turn: Turn, detail: str) -> None:
    if turn.state.launch is None:
        return
    turn.set(connected=False, run_state=None)
    if turn.state.phase in ASKABLE:
        turn.notice(f"the QMP session is lost: {detail}")
        turn.do(Arm(RECONNECT, GRACE))


def _qmp_done(turn: Turn, command: str, error: str | None) -> None:
    if turn.state.pending == command:
        turn.set(pending=None, trouble=error)
    if error is None:
        return
    turn.notice(f"QEMU did not execute {command}: {error}")
    if command == "cont" and turn.state.phase is Phase.STARTING:
        turn.set(ending=Ending(Cause.START_FAILED, f"the vCPUs could not be started: {error}"))
        turn.do(Signal(signal.SIGKILL))


def _stable(turn: Turn) -> None:
    turn.set(failures=(), streak=0)
    turn.notice(f"has run for {turn.env.spec.restart.stable_after}: its failures are forgotten")


def _backoff(turn: Turn) -> None:
    if turn.state.phase is Phase.BACKOFF:
        turn.spawn("the delay before its restart is over")


def _reconnect(turn: Turn) -> None:
    if turn.state.phase not in ASKABLE or turn.state.connected:
        return
    if turn.state.phase is Phase.STARTING:
        _connect_failed(turn, "the QMP session was lost before the guest ran")
        return
    if turn.state.phase is not Phase.UNREACHABLE:
        turn.enter(Phase.UNREACHABLE, "its process lives, but the QMP session is lost")
    turn.do(Connect())


def _ending(turn: Turn) -> None:
    if turn.state.phase is Phase.STOPPING:
        turn.notice("QEMU did not quit; it is killed")
        turn.do(Signal(signal.SIGKILL))


def _on_ladder(action: Callable[[Turn], None]) -> Callable[[Turn], None]:
    def if_descending(turn: Turn) -> None:
        if turn.state.descent is not None:
            action(turn)

    return if_descending


_TIMERS: Final[dict[str, Callable[[Turn], None]]] = {
    STABLE: _stable,
    BACKOFF: _backoff,
    RECONNECT: _reconnect,
    ENDING: _ending,
    PRESS: _on_ladder(ladder.press),
    DEADLINE: _on_ladder(ladder.time_is_up),
    HARD: _on_ladder(ladder.harder),
    REARM: verbs.rearm,
    HELPERS: mending.start_anew,
    READY: readiness.late,
    STAGE: hang.go_on,
    CALM: disks.go_on,
    MAINTENANCE: maintenance.time_is_up,
    REWRITE: lambda turn: turn.do(Persist()),
}

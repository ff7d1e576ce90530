"""The life of one guest as a pure function: ``step(state, input, env) -> (state, effects)``.

Every pair of phase and input has an answer; what makes no sense in a phase (a late timer, a repeated event of a
QEMU that lies) changes nothing. Each change of what must outlive the daemon ends in ``Persist``, each change of
phase in an event, and nothing is announced or answered before it is persisted.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, assert_never

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import ending, ladder, mending, verbs
from qsup.guest.effects import Arm, Connect, Effect, Persist, Publish, QueryStatus, Reply, Signal
from qsup.guest.inputs import (
    AgentAnswered,
    Command,
    Connected,
    ConnectFailed,
    Due,
    Exited,
    Happened,
    HelperExited,
    Input,
    LaunchFailed,
    Lost,
    QmpDone,
    Restored,
    RunState,
    Spawned,
    StatusKnown,
    Timer,
)
from qsup.guest.restore import restore
from qsup.guest.state import Ending, State
from qsup.guest.turn import (
    BACKOFF,
    DEADLINE,
    ENDING,
    HARD,
    HELPERS,
    PRESS,
    REARM,
    RECONNECT,
    REWRITE,
    STABLE,
    Env,
    Turn,
)
from qsup.phase import ASKABLE, Phase, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE: Final = 0.2
"""Seconds between a lost session and the first try to reconnect: a QEMU that ends loses its session first."""
RETRY: Final = 5.0
"""Seconds between tries to reconnect."""
RESETS_EVERY: Final = 1.0
"""Seconds between two notices of resets."""
PAUSE_REASONS: Final = {
    "paused": "its vCPUs are stopped",
    "io-error": "QEMU stopped it at an I/O error; mend the storage, then `qsup resume`",
    "suspended": "the guest has suspended itself",
    "watchdog": "its watchdog device fired",
    "postmigrate": "it has been migrated away",
    "save-vm": "a snapshot is being saved",
    "restore-vm": "a snapshot is being loaded",
    "debug": "a debugger holds it",
}


def step(state: State, happened: Input, env: Env) -> tuple[State, list[Effect]]:
    """Answer an input: the new state, and what is to be done, in order."""
    turn = Turn(state, env)
    _dispatch(turn, happened)
    deeds = [effect for effect in turn.effects if not isinstance(effect, Publish | Reply)]
    words = [effect for effect in turn.effects if isinstance(effect, Publish | Reply)]
    new = turn.state
    if _lasting(new) != _lasting(state):
        deeds.append(Persist())
    if (new.phase, new.reason) != (state.phase, state.reason):
        news = {"phase": new.phase.value, "was": state.phase.value, "ready": new.ready, "reason": new.reason}
        words.insert(0, Publish(Kind.PHASE, news))
        # The end of a run is told before the phase that follows from it.
        words.sort(key=lambda word: isinstance(word, Reply) or not _is_end(word))
    return new, [*deeds, *words]


def _is_end(word: Effect) -> bool:
    return isinstance(word, Publish) and word.kind is Kind.ENDED


def _lasting(state: State) -> tuple[object, ...]:
    """What the next daemon must know and cannot ask QEMU; a disk is waited for only when this changes."""
    return (
        None if state.phase in ASKABLE else state.phase, state.wanted, state.commanded, state.ending,
        state.descent is None, state.start_after, state.failures, state.streak, state.next_try,
        state.last_end, state.restarts,
    )  # fmt: skip


def _dispatch(turn: Turn, happened: Input) -> None:
    match happened:
        case Command(verb, by):
            verbs.obey(turn, verb, by)
        case Due():
            _due(turn)
        case Spawned():
            _spawned(turn, happened)
        case LaunchFailed(detail):
            if turn.state.phase in (Phase.STARTING, Phase.STOPPING):
                ending.launch_failed(turn, detail)
        case Connected(run_state):
            _connected(turn, run_state)
        case ConnectFailed(detail):
            _connect_failed(turn, detail)
        case Lost(detail):
            _lost(turn, detail)
        case Happened():
            if turn.state.launch is not None:
                _happened(turn, happened)
        case RunState(run_state):
            if turn.state.launch is not None and turn.state.connected:
                _observe(turn, run_state)
        case QmpDone(command, error):
            _qmp_done(turn, command, error)
        case AgentAnswered(error):
            if error is not None:
                ladder.agent_failed(turn, error)
        case Exited(status, stderr):
            if turn.state.launch is not None:
                ending.process_ended(turn, status, stderr)
        case HelperExited():
            mending.helper_exited(turn, happened)
        case StatusKnown(status):
            ending.status_known(turn, status)
        case Timer(name):
            _TIMERS[name](turn)
        case Restored():
            restore(turn, happened)
        case _:
            assert_never(happened)


def _due(turn: Turn) -> None:
    overruled = turn.state.commanded and turn.state.wanted is Wanted.STOPPED
    if turn.state.phase in (Phase.STOPPED, Phase.BACKOFF, Phase.GAVE_UP) and not overruled:
        turn.set(wanted=Wanted.RUNNING)
        turn.spawn("its turn at start-up has come")


def _spawned(turn: Turn, spawned: Spawned) -> None:
    if turn.state.launch is None:
        return
    turn.set_launch(token=spawned.token, pid=spawned.pid, accel=spawned.accel)
    if turn.state.descent is not None:
        # The operator was faster than the launch.
        rung = turn.state.descent.rung
        turn.do(Signal(signal.SIGKILL if rung == ladder.SIGKILL else signal.SIGTERM))


def _connected(turn: Turn, run_state: str) -> None:
    if turn.state.launch is None:
        return
    turn.set(connected=True, run_state=run_state)
    if turn.state.phase is Phase.STOPPING:
        _go_on_stopping(turn)
        return
    if turn.launch.adopted:
        # The last daemon may have died between a reset and the end of its grace.
        verbs.rearm(turn)
    _observe(turn, run_state)


def _go_on_stopping(turn: Turn) -> None:
    """A new daemon takes up a stop that the last one had begun, with a session or without."""
    known = turn.state.ending
    if known is not None and known.cause is not Cause.HELPER_DIED:
        # What is left is an empty machine; one whose helper died still has its guest.
        if turn.state.connected:
            ending.quit_empty(turn)
        else:
            turn.do(Signal(signal.SIGKILL))
    elif turn.state.descent is not None and not turn.descent.rung:
        ladder.descend(turn, turn.state.reason)


def _observe(turn: Turn, run_state: str) -> None:
    """Draw the conclusion from QEMU's run state."""
    turn.set(run_state=run_state)
    if turn.state.phase is Phase.STOPPING:
        return
    match run_state:
        case "running":
            turn.runs()
        case "prelaunch" if turn.state.phase is not Phase.PAUSED:
            turn.qmp("cont")
        case "shutdown":
            _settle(turn, Cause.GUEST_SHUTDOWN, "the guest powered itself off")
        case "guest-panicked":
            _settle(turn, Cause.GUEST_PANIC, "the guest's kernel panicked")
        case "internal-error":
            _settle(turn, Cause.KVM_INTERNAL_ERROR, "KVM cannot go on with a vCPU")
        case _:
            turn.enter(Phase.PAUSED, PAUSE_REASONS.get(run_state, f"QEMU's run state is {run_state[:40]}"))


def _settle(turn: Turn, cause: Cause, detail: str) -> None:
    """An end shows in the run state: act on it unless the guest is kept in it already."""
    if turn.state.phase is not Phase.PAUSED:
        ending.guest_ended(turn, cause, detail)


def _connect_failed(turn: Turn, detail: str) -> None:
    state = turn.state
    if state.launch is None:
        return
    if state.phase is Phase.STOPPING:
        _go_on_stopping(turn)
        return
    if state.phase is Phase.STARTING and not state.launch.adopted:
        turn.set(ending=Ending(Cause.START_FAILED, detail))
        turn.do(Signal(signal.SIGKILL))
        return
    turn.enter(Phase.UNREACHABLE, detail)
    turn.do(Arm(RECONNECT, RETRY))


def _lost(turn: Turn, detail: str) -> None:
    if turn.state.launch is None:
        return
    turn.set(connected=False, run_state=None)
    if turn.state.phase in ASKABLE:
        turn.notice(f"the QMP session is lost: {detail}")
        turn.do(Arm(RECONNECT, GRACE))


def _happened(turn: Turn, event: Happened) -> None:
    """An event from QEMU. Its data may be a lie of a guest that has taken QEMU over: it decides on that guest only."""
    match event.name:
        case "RESUME":
            if turn.state.phase in (Phase.STARTING, Phase.RUNNING, Phase.PAUSED, Phase.UNREACHABLE):
                turn.runs()
        case "STOP":
            if turn.state.phase is Phase.RUNNING:
                turn.do(QueryStatus())
        case "SHUTDOWN":
            _shutdown(turn, event)
        case "RESET":
            if event.data.get("guest") is True:
                _reset(turn, Cause.TRIPLE_FAULT if event.triple_fault else Cause.GUEST_RESET)
        case "GUEST_PANICKED":
            _panicked(turn, event)
        case "GUEST_CRASHLOADED":
            turn.notice("the guest's kernel panicked and its crash kernel has been loaded")
        case _:
            return


def _shutdown(turn: Turn, event: Happened) -> None:
    reason = event.data.get("reason")
    turn.set_launch(shutdown_reason=reason[:40] if isinstance(reason, str) else None)
    match reason:
        case "guest-shutdown":
            ending.guest_ended(turn, Cause.GUEST_SHUTDOWN, "the guest powered itself off")
        case "guest-reset":
            cause = Cause.TRIPLE_FAULT if event.triple_fault else Cause.GUEST_RESET
            turn.set(run_state="shutdown")
            ending.guest_ended(turn, cause, _RESETS[cause])
        case "guest-panic":
            ending.guest_ended(turn, Cause.GUEST_PANIC, "the guest's kernel panicked")
        case "host-signal" | "host-qmp-quit" if turn.state.phase is not Phase.STOPPING:
            # Its exit will be judged by this reason. QEMU has been seen to hang on its way out, so it gets a limit.
            turn.enter(Phase.STOPPING, "QEMU has been told to end, by somebody else")
            turn.do(Arm(ENDING, ending.QUIT_PATIENCE))
        case _:
            return


_RESETS: Final = {
    Cause.GUEST_RESET: "the guest reset itself",
    Cause.TRIPLE_FAULT: "a vCPU met a triple fault",
}


def _reset(turn: Turn, cause: Cause) -> None:
    """QEMU has reset the machine and goes on; a machine in a boot loop is told of once a second."""
    launch = turn.launch
    told = launch.resets_told is not None and turn.env.now - launch.resets_told < RESETS_EVERY
    turn.set_launch(resets=launch.resets + 1, resets_told=launch.resets_told if told else turn.env.now)
    if not told:
        turn.notice(f"{cause}: {_RESETS[cause]} (reset {launch.resets + 1} of this run)")


def _panicked(turn: Turn, event: Happened) -> None:
    if event.data.get("action") == "run":
        turn.notice("guest-panic: the guest's kernel panicked and runs on, as its file wants")
        return
    turn.set(run_state="guest-panicked")
    ending.guest_ended(turn, Cause.GUEST_PANIC, "the guest's kernel panicked")


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
    REWRITE: lambda turn: turn.do(Persist()),
}

"""The end of a run: from evidence to cause, and from cause and policy to what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from qsup.cause import FAILURES, Cause
from qsup.events import Kind
from qsup.guest.effects import Arm, Cancel, Publish
from qsup.guest.policy import Decision, decide, react, within_window
from qsup.guest.state import End, Ending
from qsup.guest.turn import BACKOFF, ENDING, TIMERS
from qsup.guest.verbs import reset_machine
from qsup.phase import Phase, Wanted
from qsup.spec.policy import Reaction, Restart

if TYPE_CHECKING:
    from qsup.guest.state import State
    from qsup.guest.turn import Turn
    from qsup.proc.status import ExitStatus

QUIT_PATIENCE: Final = 5.0
"""Seconds that a QEMU whose guest has ended may take to quit."""


def guest_ended(turn: Turn, cause: Cause, detail: str) -> None:
    """The guest has come to an end inside a QEMU that still lives: apply the rule for the cause."""
    if turn.state.descent is not None:
        # The operator wanted this; what is left is an empty machine.
        quit_empty(turn)
        return
    if turn.state.ending is not None:
        return
    verdict = react(cause, turn.env.spec.restart)
    match verdict.reaction:
        case Reaction.RESTART | Reaction.STOP:
            turn.set(ending=Ending(cause, detail))
            turn.enter(Phase.STOPPING, f"{cause}: {detail}")
            quit_empty(turn)
        case Reaction.RESET:
            turn.notice(f"{cause}: {detail}; {verdict.rule}")
            reset_machine(turn)
        case Reaction.PAUSE:
            turn.enter(Phase.PAUSED, f"{cause}: {detail}; {verdict.rule}")
        case Reaction.IGNORE:
            turn.notice(f"{cause}: {detail}; {verdict.rule}")
            turn.qmp("cont")


def quit_empty(turn: Turn) -> None:
    """End a QEMU whose guest has ended."""
    turn.qmp("quit")
    turn.do(Arm(ENDING, QUIT_PATIENCE))


def process_ended(turn: Turn, status: ExitStatus | None, stderr: str) -> None:
    """The process is gone: name the cause, decide, and move on."""
    state, now = turn.state, turn.env.now
    ending = judge(state, status, stderr)
    running_since = state.launch.running_since if state.launch else None
    stopped_by = _stopped_by(state)
    restarted = state.start_after
    decision = _decision(turn, ending.cause)
    end = End(
        cause=ending.cause,
        detail=ending.detail,
        status=status,
        wall=turn.env.wall,
        ran=None if running_since is None else round(now - running_since, 3),
        decision=decision.rule,
        stopped_by=stopped_by,
    )
    turn.do(*(Cancel(name) for name in TIMERS))
    turn.set(
        last_end=end, launch=None, connected=False, run_state=None,
        ending=None, descent=None, start_after=False, pending=None,
    )  # fmt: skip
    turn.do(Publish(Kind.ENDED, _announcement(end)))
    _follow(turn, ending, decision, restarted=restarted)


def _decision(turn: Turn, cause: Cause) -> Decision:
    """Count the end if it counts, and decide."""
    state, policy = turn.state, turn.env.spec.restart
    if state.start_after:
        return Decision(restart=True, rule="an operator wants it started again")
    if state.wanted is Wanted.STOPPED:
        return Decision(restart=False, rule="an operator wants it stopped")
    if cause in FAILURES or policy.policy is Restart.ALWAYS:
        turn.set(
            failures=within_window((*state.failures, turn.env.now), policy, turn.env.now),
            streak=state.streak + 1,
        )
    return decide(cause, policy, turn.state.failures, turn.state.streak, turn.env.jitter)


def _follow(turn: Turn, ending: Ending, decision: Decision, *, restarted: bool) -> None:
    """Come to the phase that the decision names."""
    why = f"{ending.cause}: {ending.detail}"
    if decision.gave_up:
        turn.enter(Phase.GAVE_UP, f"{why}; {decision.rule}")
    elif not decision.restart:
        turn.enter(Phase.STOPPED, why if ending.cause is not Cause.OPERATOR else ending.detail)
    elif decision.delay > 0:
        turn.set(next_try=turn.env.now + decision.delay, restarts=turn.state.restarts + 1)
        turn.do(Arm(BACKOFF, decision.delay))
        turn.enter(Phase.BACKOFF, f"{why}; {decision.rule}")
    else:
        if not restarted:
            turn.set(restarts=turn.state.restarts + 1)
        turn.spawn(f"starts again after {why}")


def judge(state: State, status: ExitStatus | None, stderr: str) -> Ending:
    """Name the cause of an end, from all that was seen of the run. Pure."""
    last_words = _last_line(stderr)
    said = f"; QEMU said: {last_words}" if last_words else ""
    died = state.ending is not None and state.ending.cause is Cause.HELPER_DIED
    if state.descent is not None and not (died and state.wanted is Wanted.RUNNING):
        return Ending(Cause.OPERATOR, f"stopped by {_stopped_by(state)}")
    if state.ending is not None:
        return state.ending
    launch = state.launch
    if launch is not None and launch.shutdown_reason == "host-signal":
        return Ending(Cause.QEMU_SIGNAL, f"somebody sent QEMU a signal that ends it{said}")
    if launch is not None and launch.shutdown_reason == "host-qmp-quit":
        return Ending(Cause.QEMU_EXIT, "somebody told QEMU to quit over a monitor")
    if launch is not None and launch.shutdown_reason == "guest-shutdown":
        return Ending(Cause.GUEST_SHUTDOWN, "the guest powered itself off")
    if state.phase is Phase.STARTING:
        return Ending(
            Cause.START_FAILED, f"QEMU ended ({status or 'status unknown'}) before the guest ran{said}"
        )
    return from_status(status, said)


def from_status(status: ExitStatus | None, said: str = "") -> Ending:
    """The cause of an end of which nothing but the exit status is known."""
    if status is None:
        return Ending(
            Cause.UNKNOWN, f"QEMU is gone, and the kernel tells its exit status only to its parent{said}"
        )
    if status.how == "signal":
        return Ending(Cause.QEMU_SIGNAL, f"{status} ended QEMU{said}")
    return Ending(Cause.QEMU_EXIT, f"QEMU exited with status {status.number}{said}")


def launch_failed(turn: Turn, detail: str) -> None:
    """No process came of a launch."""
    if turn.state.descent is None and turn.state.wanted is Wanted.RUNNING:
        turn.set(ending=Ending(Cause.START_FAILED, detail))
    process_ended(turn, None, "")


def status_known(turn: Turn, status: ExitStatus) -> None:
    """The kernel has told the status of a run that ended before."""
    end = turn.state.last_end
    if end is None or end.status is not None:
        return
    cause, detail = end.cause, end.detail
    if cause is Cause.UNKNOWN:
        ending = from_status(status)
        cause, detail = ending.cause, ending.detail
    turn.set(last_end=msgspec.structs.replace(end, status=status, cause=cause, detail=detail))
    turn.do(Publish(Kind.STATUS, {"status": str(status), "cause": cause.value}))


def _stopped_by(state: State) -> str | None:
    return state.descent.rung if state.descent else None


def _announcement(end: End) -> dict[str, object]:
    return {
        "cause": end.cause.value,
        "detail": end.detail,
        "status": str(end.status) if end.status else None,
        "ran": end.ran,
        "decision": end.decision,
        "stopped-by": end.stopped_by,
    }


def _last_line(text: str) -> str:
    """QEMU's last words; its warnings are about something else than its end."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and " warning: " not in line]
    return lines[-1][:500] if lines else ""

"""The end of a process: its cause, what is decided, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qsup.cause import FAILURES, Cause
from qsup.events import Kind
from qsup.guest.effects import Arm, Cancel, Publish
from qsup.guest.inputs import Exited
from qsup.guest.judge import completed, from_status, judge
from qsup.guest.policy import Decision, decide, within_window
from qsup.guest.state import End, Ending
from qsup.guest.turn import BACKOFF, TIMERS
from qsup.phase import Phase, Wanted
from qsup.spec.policy import Restart

if TYPE_CHECKING:
    from qsup.guest.state import State
    from qsup.guest.turn import Turn
    from qsup.status import ExitStatus


def process_ended(turn: Turn, exited: Exited) -> None:
    """The process is gone: name the cause, decide, and move on."""
    state, now = turn.state, turn.env.now
    ending = judge(state, exited)
    running_since = state.launch.running_since if state.launch else None
    stopped_by = _stopped_by(state)
    restarted = state.start_after
    decision = _decision(turn, ending.cause)
    # Without a process there is nothing to be kept but what is told already.
    kept = ending.cause in FAILURES and state.pid is not None
    end = End(
        cause=ending.cause,
        detail=ending.detail,
        status=exited.status,
        wall=turn.env.wall,
        ran=None if running_since is None else round(now - running_since, 3),
        decision=decision.rule,
        stopped_by=stopped_by,
        evidence=ending.evidence,
        bundle=turn.collect(ending, decision.rule) if kept else None,
    )
    turn.do(*(Cancel(name) for name in TIMERS))
    turn.set(
        last_end=end, launch=None, connected=False, run_state=None,
        ending=None, descent=None, start_after=False, pending=None, ill=None,
    )  # fmt: skip
    turn.do(Publish(Kind.ENDED, announcement(end, restart=decision.restart)))
    _follow(turn, ending, decision, restarted=restarted)


def _decision(turn: Turn, cause: Cause) -> Decision:
    """Count the end if it counts, and decide."""
    state, policy = turn.state, turn.env.spec.restart
    if state.start_after:
        return Decision(restart=True, rule="an operator wants it started again")
    if state.wanted is Wanted.STOPPED:
        return Decision(restart=False, rule="an operator wants it stopped")
    if state.leave is not None:
        return Decision(restart=False, rule="all guests are being stopped")
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


def launch_failed(turn: Turn, detail: str) -> None:
    """No process came of a launch."""
    if turn.state.descent is None and turn.state.wanted is Wanted.RUNNING:
        turn.set(ending=Ending(Cause.START_FAILED, detail))
    process_ended(turn, Exited(None, ""))


def status_known(turn: Turn, status: ExitStatus) -> None:
    """The kernel has told the status of a run that ended before."""
    end = turn.state.last_end
    if end is None or end.status is not None:
        return
    cause, detail = end.cause, end.detail
    if cause is Cause.UNKNOWN:
        ending = from_status(status)
        cause, detail = ending.cause, ending.detail
    evidence = completed(end.evidence, status)
    known = msgspec.structs.replace(end, status=status, cause=cause, detail=detail, evidence=evidence)
    turn.set(last_end=known)
    turn.do(Publish(Kind.STATUS, {"status": str(status), "cause": cause.value}))


def _stopped_by(state: State) -> str | None:
    return state.descent.rung if state.descent else None


def announcement(end: End, *, restart: bool) -> dict[str, object]:
    """The data of the event that tells of an end; ``restart``: another run follows."""
    return {
        "cause": end.cause.value,
        "detail": end.detail,
        "evidence": list(end.evidence),
        "status": str(end.status) if end.status else None,
        "ran": end.ran,
        "decision": end.decision,
        "restart": restart,
        "stopped-by": end.stopped_by,
        "bundle": end.bundle,
    }

"""What is done about a guest whose QEMU lives: the rule for the cause, applied. Ends of processes are in ``ending``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.cause import FAILURES, Cause
from qsup.events import Kind
from qsup.guest import ladder
from qsup.guest.effects import Arm, Picture, Publish
from qsup.guest.policy import Verdict, react, within_window
from qsup.guest.state import STANDING, Ending
from qsup.guest.turn import ENDING
from qsup.guest.verbs import reset_machine
from qsup.phase import Phase
from qsup.spec.policy import Reaction

if TYPE_CHECKING:
    from qsup.guest.turn import Turn

ONE_REBOOT: Final = 1.0
"""Seconds in which several resets are one: SeaBIOS resets a machine that was booted before once more itself."""
QUIT_PATIENCE: Final = 5.0
"""Seconds that a QEMU whose guest has ended may take to quit."""


def respond(turn: Turn, ending: Ending, *, over: bool) -> None:
    """Apply the rule for a cause. ``over``: the guest has come to its end, and all that is left is an empty machine.

    A guest that is not over is shut down as an operator would, not cut off.
    """
    if turn.state.descent is not None:
        # The operator wanted this.
        if over:
            quit_empty(turn)
        return
    if turn.state.ending is not None:
        return
    verdict = react(ending.cause, turn.env.spec.restart)
    match verdict.reaction:
        case Reaction.RESTART | Reaction.STOP if over:
            end(turn, ending)
        case Reaction.RESTART | Reaction.STOP:
            turn.set(ending=ending)
            ladder.descend(turn, f"{ending.cause}: {ending.detail}", ours=True)
        case Reaction.RESET:
            trouble(turn, ending, verdict)
            reset_machine(turn)
        case Reaction.PAUSE:
            trouble(turn, ending, verdict)
            if turn.state.run_state not in STANDING:
                turn.qmp("stop")
            turn.enter(Phase.PAUSED, f"{ending.cause}: {ending.detail}; {verdict.rule}")
        case Reaction.IGNORE:
            trouble(turn, ending, verdict)
            if turn.state.run_state in STANDING:
                turn.qmp("cont")


def trouble(turn: Turn, ending: Ending, verdict: Verdict) -> None:
    """Tell of something that a guest lives on with; make a bundle of it if somebody will want to know more."""
    bundle = None
    if ending.cause in FAILURES and verdict.reaction is not Reaction.IGNORE:
        turn.do(Picture())
        bundle = turn.collect(ending, verdict.rule)
    tell(turn, ending, verdict.rule, bundle)


def tell(turn: Turn, ending: Ending, decision: str, bundle: str | None = None) -> None:
    """Announce trouble."""
    data = {
        "cause": ending.cause.value,
        "detail": ending.detail,
        "evidence": list(ending.evidence),
        "decision": decision,
        "bundle": bundle,
    }
    turn.do(Publish(Kind.TROUBLE, data))


def recovered(turn: Turn, detail: str) -> None:
    """What was wrong with the guest is over."""
    ill = turn.state.ill
    if ill is None:
        return
    turn.set(ill=None)
    after = round(turn.env.now - ill.since, 3)
    turn.do(Publish(Kind.RECOVERED, {"cause": ill.cause.value, "detail": detail, "after": after}))


def end(turn: Turn, ending: Ending) -> None:
    """End a QEMU because of the end of its guest."""
    turn.set(ending=ending)
    turn.enter(Phase.STOPPING, f"{ending.cause}: {ending.detail}")
    turn.do(Picture())
    quit_empty(turn)


def quit_empty(turn: Turn) -> None:
    """End a QEMU whose guest has ended."""
    turn.qmp("quit")
    turn.do(Arm(ENDING, QUIT_PATIENCE))


def is_same_reboot(turn: Turn) -> bool:
    """Whether a reset now belongs to the one before: firmware that was reset resets the machine once more."""
    before = turn.state.resets
    return bool(before) and turn.env.now - before[-1] < ONE_REBOOT


def counted(turn: Turn, ending: Ending) -> Ending:
    """Count a guest's own reset: the one that reaches the limit makes the guest one in a reboot loop."""
    policy = turn.env.spec.restart
    if is_same_reboot(turn):
        return ending
    resets = within_window((*turn.state.resets, turn.env.now), policy, turn.env.now)
    turn.set(resets=resets)
    if not policy.limit or len(resets) < policy.limit:
        return ending
    detail = (
        f"it has reset itself {len(resets)} times within {policy.window}, the last time so: {ending.detail}"
    )
    # A guest that is let go on is told of again only after as many resets.
    turn.set(resets=(), failures=within_window((*turn.state.failures, *resets), policy, turn.env.now))
    return Ending(Cause.REBOOT_LOOP, detail, ending.evidence)

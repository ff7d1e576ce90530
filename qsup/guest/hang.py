"""A QEMU or a guest that hangs: told, then answered stage by stage, as ``[hang]`` says, until it is well or gone."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from qsup.cause import Cause
from qsup.guest.effects import Arm, AskAgent, Cancel, Picture, QueryStatus, Signal
from qsup.guest.response import recovered, tell
from qsup.guest.state import Ending, Ill
from qsup.guest.turn import STAGE
from qsup.guest.verbs import reset_machine
from qsup.phase import ALIVE, Phase
from qsup.spec.tables.hang import Stage

if TYPE_CHECKING:
    from qsup.guest.inputs import Pulse
    from qsup.guest.turn import Turn

HANGS: Final = frozenset({Cause.QEMU_STOPPED, Cause.QEMU_HUNG, Cause.QMP_LOST, Cause.GUEST_HUNG})


def pulse(turn: Turn, felt: Pulse) -> None:
    """The pulse of QEMU or of its guest has stopped, or is back."""
    if turn.state.launch is None or turn.state.phase not in ALIVE or turn.state.phase is Phase.STOPPING:
        return
    if felt.cause is None:
        _well(turn, felt.detail)
        return
    ending = Ending(felt.cause, felt.detail, felt.evidence)
    if felt.alone is not None:
        _leave_alone(turn, ending, felt.alone)
    else:
        begin(turn, ending)


def begin(turn: Turn, ending: Ending) -> None:
    """Something hangs from now on."""
    turn.set(ill=Ill(ending.cause, ending.detail, turn.env.now))
    words = f"{ending.cause}: {ending.detail}"
    if ending.cause is Cause.GUEST_HUNG:
        turn.enter(turn.state.phase, words)
    else:
        turn.enter(Phase.UNREACHABLE, words)
    turn.saw(words)
    stages = ", ".join(_stages(turn)) or "nothing"
    rests = in_maintenance(turn)
    tell(turn, ending, "nothing, as it is under maintenance" if rests else f"to be done: {stages}")
    if not rests:
        go_on(turn)


def _leave_alone(turn: Turn, ending: Ending, why: str) -> None:
    """Something hangs, and not by its own fault: it is told, and no more."""
    turn.set(ill=Ill(ending.cause, ending.detail, turn.env.now, len(_stages_of(turn, ending.cause))))
    turn.enter(Phase.UNREACHABLE, f"{ending.cause}: {ending.detail}; {why}")
    decision = f"nothing is done: {why}"
    tell(turn, ending, decision, turn.collect(ending, decision))


def _well(turn: Turn, detail: str) -> None:
    if turn.state.ill is None or turn.state.ill.cause not in HANGS:
        return
    recovered(turn, detail)
    turn.do(Cancel(STAGE))
    if turn.state.connected:
        # What it is now is QEMU's word.
        turn.do(QueryStatus())


def reconnected(turn: Turn) -> None:
    """There is a QMP session again."""
    if turn.state.ill is not None and turn.state.ill.cause is Cause.QMP_LOST:
        turn.do(Cancel(STAGE))
        recovered(turn, "there is a QMP session again")


def go_on(turn: Turn) -> None:
    """Do what the next stages say, up to the first whose effect is to be waited for."""
    while (ill := turn.state.ill) is not None and turn.state.launch is not None:
        stages = _stages(turn)
        if ill.cause not in HANGS or ill.stage >= len(stages):
            return
        stage = stages[ill.stage]
        turn.set(ill=Ill(ill.cause, ill.detail, ill.since, ill.stage + 1))
        if _act(turn, stage, ill):
            turn.notice(f"{ill.cause}: stage {stage}")
            turn.do(Arm(STAGE, float(turn.env.spec.hang.stage_wait)))
            return


def _stages(turn: Turn) -> tuple[Stage, ...]:
    return _stages_of(turn, turn.state.ill.cause) if turn.state.ill else ()


def _stages_of(turn: Turn, cause: Cause) -> tuple[Stage, ...]:
    hang = turn.env.spec.hang
    return hang.guest_stages if cause is Cause.GUEST_HUNG else hang.qemu_stages


def _act(turn: Turn, stage: Stage, ill: Ill) -> bool:
    """Do what a stage says; return whether its effect is to be waited for."""
    match stage:
        case Stage.EVIDENCE:
            _collect(turn, ill)
            return False
        case Stage.CONTINUE:
            if ill.cause is not Cause.QEMU_STOPPED:
                return False
            turn.do(Signal(signal.SIGCONT))
        case Stage.AGENT:
            turn.do(AskAgent("reboot"))
        case Stage.NMI:
            turn.qmp("inject-nmi")
        case Stage.RESET:
            reset_machine(turn)
        case Stage.QUIT:
            _end(turn, ill)
            if ill.cause is Cause.GUEST_HUNG:
                turn.qmp("quit")
            else:
                turn.do(Signal(signal.SIGTERM))
        case Stage.KILL:
            _end(turn, ill)
            turn.do(Signal(signal.SIGKILL))
    return True


def _collect(turn: Turn, ill: Ill) -> None:
    if ill.cause is Cause.GUEST_HUNG:
        turn.do(Picture())
    bundle = turn.collect(Ending(ill.cause, ill.detail, turn.launch.seen), "the stages of [hang]")
    if bundle is not None:
        turn.notice(f"{ill.cause}: the evidence is kept as {bundle}")


def _end(turn: Turn, ill: Ill) -> None:
    """From here on the run has ended, whatever it does."""
    if turn.state.ending is None:
        turn.set(ending=Ending(ill.cause, ill.detail))
        turn.enter(Phase.STOPPING, f"{ill.cause}: {ill.detail}")


def in_maintenance(turn: Turn) -> bool:
    """Whether an operator works on the guest, who knows better."""
    return turn.state.maintenance is not None and turn.env.now < turn.state.maintenance

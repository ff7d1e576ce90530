"""What a new daemon makes of the state that the last one wrote, and of the process that it finds or misses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import maintenance
from qsup.guest.effects import Arm, Connect, Publish
from qsup.guest.ending import announcement, process_ended
from qsup.guest.policy import UNRULED
from qsup.guest.state import Descent, End
from qsup.guest.turn import BACKOFF, STABLE
from qsup.guest.unheard import recall
from qsup.phase import ALIVE, Phase, Wanted

if TYPE_CHECKING:
    from qsup.guest.inputs import Restored
    from qsup.guest.state import Launch, State
    from qsup.guest.turn import Turn


def restore(turn: Turn, restored: Restored) -> None:
    """Take up the guest's life where it stands."""
    turn.set(connected=False, run_state=None, pending=None, trouble=None, ill=None)
    if not restored.same_boot:
        _rebase(turn, restored.shift)
    maintenance.resume(turn)
    if restored.alive is not None:
        _adopt(turn, restored.alive)
    elif not restored.same_boot:
        _after_reboot(turn)
    elif turn.state.phase is Phase.BACKOFF:
        turn.do(Arm(BACKOFF, max(0.0, (turn.state.next_try or 0.0) - turn.env.now)))
    elif turn.state.phase in ALIVE:
        _missing(turn, restored)


def _adopt(turn: Turn, alive: Launch) -> None:
    """Its process lives: it keeps its phase until QEMU itself says what is the case."""
    turn.set(launch=_same(turn.state.launch, alive), next_try=None)
    if turn.state.phase not in ALIVE:
        # The last daemon died between the launch and the record of it.
        turn.set(wanted=Wanted.RUNNING)
        turn.enter(Phase.STARTING, "adopted while it started")
    if turn.state.failures:
        turn.do(Arm(STABLE, float(turn.env.spec.restart.stable_after)))
    if turn.state.descent is not None:
        # The descent begins anew with the session, as nobody pressed the button meanwhile.
        turn.set(descent=Descent("", -1, 0, turn.env.now, turn.descent.ours))
        turn.enter(Phase.STOPPING, f"{turn.state.reason}; a new daemon goes on with it")
    turn.notice(f"adopted: QEMU's pid is {alive.pid}")
    turn.do(Connect())


def _same(known: Launch | None, alive: Launch) -> Launch:
    """What the last daemon knew of the launch, as far as it had come to write it down."""
    if known is None or known.token != alive.token:
        return alive
    return msgspec.structs.replace(
        known, pid=alive.pid, accel=alive.accel, running_since=alive.running_since, adopted=True
    )


def _rebase(turn: Turn, shift: float) -> None:
    """Put the times of another boot to as long ago in this one; failures count whatever the host has been through."""
    state = turn.state
    turn.set(
        failures=tuple(at + shift for at in state.failures),
        resets=tuple(at + shift for at in state.resets),
        next_try=None if state.next_try is None else state.next_try + shift,
        maintenance=None if state.maintenance is None else state.maintenance + shift,
    )


def _after_reboot(turn: Turn) -> None:
    """No process is left; what had given up or waits for its next try goes on with that."""
    state = turn.state
    if state.phase is Phase.GAVE_UP:
        return
    if state.phase is Phase.BACKOFF:
        turn.do(Arm(BACKOFF, max(0.0, (state.next_try or 0.0) - turn.env.now)))
        return
    if state.phase in ALIVE:
        _went_with_the_host(turn)
    turn.set(launch=None, ending=None, descent=None, leave=None, start_after=False, next_try=None)
    if turn.state.phase is not Phase.STOPPED:
        turn.enter(Phase.STOPPED, "the host was restarted")


def _went_with_the_host(turn: Turn) -> None:
    """Its run ended with the host's; how, nobody saw."""
    end = End(
        cause=Cause.HOST_SHUTDOWN,
        detail="the host was restarted while it ran",
        status=None,
        wall=turn.env.wall,
        ran=None,
        decision=UNRULED[Cause.HOST_SHUTDOWN].rule,
    )
    turn.set(last_end=end)
    turn.do(Publish(Kind.ENDED, announcement(end, restart=False)))


def _missing(turn: Turn, restored: Restored) -> None:
    """A process was there, or nearly, and is gone."""
    if restored.exited is None:
        if turn.state.wanted is Wanted.RUNNING:
            turn.spawn("the last daemon ended before it could launch it")
        else:
            turn.set(launch=None, ending=None, descent=None)
            turn.enter(Phase.STOPPED, "the last daemon ended before it could launch it")
        return
    if turn.state.phase is Phase.STARTING:
        # Nobody saw whether it got as far as running, so it is not judged as a start that failed.
        turn.enter(Phase.RUNNING, turn.state.reason)
    recall(turn, restored.unheard)
    process_ended(turn, restored.exited)


def wants_start(state: State, *, autostart: bool, same_boot: bool) -> bool:
    """Whether a guest without a process is to be started as the daemon starts. Pure.

    An operator's last word counts for ever; without one, ``autostart``. Within one boot of the host, a guest
    that came to rest by its own policy stays there, and so does one that was stopped with all others.
    """
    if state.phase is not Phase.STOPPED:
        return False
    if same_boot and (state.last_end is not None or state.leave is not None):
        return False
    return state.wanted is Wanted.RUNNING if state.commanded else autostart

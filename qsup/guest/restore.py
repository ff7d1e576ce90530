"""What a new daemon makes of the state that the last one wrote, and of the process that it finds or misses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.guest.effects import Arm, Connect
from qsup.guest.ending import process_ended
from qsup.guest.state import Descent
from qsup.guest.turn import BACKOFF, STABLE
from qsup.phase import ALIVE, Phase, Wanted

if TYPE_CHECKING:
    from qsup.guest.inputs import Restored
    from qsup.guest.state import Launch, State
    from qsup.guest.turn import Turn


def restore(turn: Turn, restored: Restored) -> None:
    """Take up the guest's life where it stands."""
    turn.set(connected=False, run_state=None, pending=None, trouble=None)
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
    turn.set(launch=alive, next_try=None)
    if turn.state.phase not in ALIVE:
        # The last daemon died between the launch and the record of it.
        turn.set(wanted=Wanted.RUNNING)
        turn.enter(Phase.STARTING, "adopted while it started")
    if turn.state.failures:
        turn.do(Arm(STABLE, float(turn.env.spec.restart.stable_after)))
    if turn.state.descent is not None:
        # The descent begins anew with the session, as nobody pressed the button meanwhile.
        turn.set(descent=Descent("", -1, 0, turn.env.now))
        turn.enter(Phase.STOPPING, f"{turn.state.reason}; a new daemon goes on with it")
    turn.notice(f"adopted: QEMU's pid is {alive.pid}")
    turn.do(Connect())


def _after_reboot(turn: Turn) -> None:
    """Times and counts of another boot mean nothing now."""
    turn.set(
        launch=None, ending=None, descent=None, start_after=False, failures=(), streak=0, next_try=None
    )  # fmt: skip
    if turn.state.phase is not Phase.STOPPED:
        turn.enter(Phase.STOPPED, "the host was restarted")


def _missing(turn: Turn, restored: Restored) -> None:
    """A process was there, or nearly, and is gone."""
    if not restored.launched:
        if turn.state.wanted is Wanted.RUNNING:
            turn.spawn("the last daemon ended before it could launch it")
        else:
            turn.set(launch=None, ending=None, descent=None)
            turn.enter(Phase.STOPPED, "the last daemon ended before it could launch it")
        return
    if turn.state.phase is Phase.STARTING:
        # Nobody saw whether it got as far as running, so it is not judged as a start that failed.
        turn.enter(Phase.RUNNING, turn.state.reason)
    process_ended(turn, restored.status, restored.stderr)


def wants_start(state: State, *, autostart: bool, same_boot: bool) -> bool:
    """Whether a guest without a process is to be started as the daemon starts. Pure.

    An operator's last word counts for ever; without one, ``autostart``. Within one boot of the host, a guest
    that came to rest by its own policy stays there.
    """
    if state.phase is not Phase.STOPPED:
        return False
    if same_boot and state.last_end is not None:
        return False
    return state.wanted is Wanted.RUNNING if state.commanded else autostart

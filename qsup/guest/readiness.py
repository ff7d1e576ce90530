"""When a guest counts as ready, and whether it is well: what its checks of ``[ready]`` and ``[[health]]`` lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.cause import Cause
from qsup.events import Kind
from qsup.guest import disks
from qsup.guest.effects import Arm, Cancel, Publish
from qsup.guest.response import recovered, respond
from qsup.guest.state import Ending, Ill
from qsup.guest.turn import READY, STABLE
from qsup.phase import Phase
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from qsup.guest.inputs import Health
    from qsup.guest.turn import Turn


UNHEARD: Final = frozenset({ReadyCheck.CONSOLE, ReadyCheck.NOTIFY})
"""Checks that wait for something which is said once, and is lost if nobody listens."""


def runs(turn: Turn) -> None:
    """The vCPUs run."""
    if turn.launch.running_since is None:
        turn.set_launch(running_since=turn.env.now)
    turn.set_launch(shutdown_reason=None)
    if turn.state.streak or turn.state.failures:
        turn.do(Arm(STABLE, float(turn.env.spec.restart.stable_after)))
    turn.set(run_state="running", connected=True)
    disks.resumed(turn)
    turn.enter(Phase.RUNNING, "its vCPUs run")
    if turn.launch.ready_after is None:
        _expect(turn)


def reboots(turn: Turn) -> None:
    """The guest was reset: it has to become ready once more, if that is more than to run."""
    turn.set_launch(booted_at=turn.env.now, panic=None)
    if turn.env.spec.ready.check is not ReadyCheck.RUNNING:
        turn.set_launch(ready_after=None, not_ready=None)
        _expect(turn)


def _expect(turn: Turn) -> None:
    """From now on the guest may become ready."""
    ready = turn.env.spec.ready
    if ready.check is ReadyCheck.RUNNING:
        passed(turn, "its vCPUs run")
    elif ready.timeout:
        turn.do(Arm(READY, float(ready.timeout)))


def passed(turn: Turn, detail: str) -> None:
    """The check has passed."""
    launch = turn.state.launch
    if launch is None or turn.state.phase is not Phase.RUNNING or launch.ready_after is not None:
        return
    if launch.booted_at is None:
        # An earlier daemon has seen it boot, and has left no word of it.
        turn.set_launch(ready_after=0.0)
        return
    after = round(turn.env.now - launch.booted_at, 3)
    turn.set_launch(ready_after=after)
    turn.do(Cancel(READY), Publish(Kind.READY, {"after": after, "detail": detail}))


def late(turn: Turn) -> None:
    """The guest should be ready by now."""
    launch, timeout = turn.state.launch, turn.env.spec.ready.timeout
    if launch is None or launch.ready_after is not None or turn.state.phase is Phase.STOPPING or not timeout:
        return
    if turn.state.phase is not Phase.RUNNING:
        # While its vCPUs stand still it cannot become ready.
        turn.do(Arm(READY, float(timeout)))
        return
    check = turn.env.spec.ready.check
    if launch.adopted and check in UNHEARD:
        passed(turn, f"not known for sure: what {check} waits for may have come while there was no daemon")
        return
    looked = f"; the last look: {launch.not_ready}" if launch.not_ready else ""
    detail = f'not ready within {timeout} by ready.check = "{check}"{looked}'
    respond(turn, Ending(Cause.START_TIMEOUT, detail), over=False)


def health(turn: Turn, told: Health) -> None:
    """A check of the guest's health has failed too often, or passes again."""
    ill = turn.state.ill
    if turn.state.phase is not Phase.RUNNING:
        return
    if told.detail is not None:
        detail = f"the check {told.name} failed: {told.detail}"
        turn.set(ill=Ill(Cause.GUEST_UNHEALTHY, detail, turn.env.now))
        respond(turn, Ending(Cause.GUEST_UNHEALTHY, detail), over=False)
    elif ill is not None and ill.cause is Cause.GUEST_UNHEALTHY:
        recovered(turn, f"the check {told.name} passes again")

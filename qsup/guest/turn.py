"""One step in the making: the state as it becomes, and the effects gathered on the way.

A step is a pure function from the outside. Inside it is written as a sequence of small changes to a ``Turn``,
which lives no longer than the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.blackbox.bundle import id_of
from qsup.events import Kind
from qsup.guest.effects import Cancel, Collect, Effect, Publish, Qmp, Spawn
from qsup.guest.state import Launch
from qsup.phase import Phase
from qsup.spec.model import GuestSpec

if TYPE_CHECKING:
    from qsup.guest.state import Descent, Ending, State

STABLE: Final = "stable"
"""The run has been good for ``restart.stable-after``."""
BACKOFF: Final = "backoff"
"""The delay before a restart has passed."""
RECONNECT: Final = "reconnect"
"""It is time to try the QMP socket once more."""
ENDING: Final = "ending"
"""QEMU should have quit by now."""
PRESS: Final = "press"
"""The guest has not answered to the present stop method."""
DEADLINE: Final = "deadline"
"""The time that the guest had for stopping itself is over."""
HARD: Final = "hard"
"""QEMU has not answered to the present hard rung of the stop ladder."""
REARM: Final = "rearm"
"""The firmware is through with the last reset."""
HELPERS: Final = "helpers"
"""It is time to start the helpers anew that have ended."""
READY: Final = "ready"
"""The guest should be ready by now."""
STAGE: Final = "stage"
"""The present stage of ``[hang]`` has had its time."""
CALM: Final = "calm"
"""The wait before it is let go on after trouble with a disk is over."""
MAINTENANCE: Final = "maintenance"
"""The time of the operator who works on it is up."""
REWRITE: Final = "rewrite"
"""The state could not be written; it is tried again."""
TIMERS: Final = (
    STABLE, BACKOFF, RECONNECT, ENDING, PRESS, DEADLINE, HARD, REARM, HELPERS, READY, STAGE, CALM,
)  # fmt: skip
"""Those that mean something to one run only."""
SEEN: Final = 8
"""How many observations of a run are kept."""


class Env(msgspec.Struct, frozen=True):
    """What a step may know beside state and input: the time, a random number in [0, 1), the guest's file.

    ``bundles``: the daemon keeps bundles of what goes wrong.
    """

    now: float
    wall: float
    jitter: float
    spec: GuestSpec
    bundles: bool = True


class Turn:
    """A state being changed, and the effects that go with it."""

    def __init__(self, state: State, env: Env) -> None:
        self.state = state
        self.env = env
        self.effects: list[Effect] = []

    def set(self, **changes: Any) -> None:
        """Replace fields of the state."""
        self.state = msgspec.structs.replace(self.state, **changes)

    def set_launch(self, **changes: Any) -> None:
        """Replace fields of the present launch."""
        self.set(launch=msgspec.structs.replace(self.launch, **changes))

    @property
    def launch(self) -> Launch:
        """The present launch; a step asks for it only where there is one."""
        assert self.state.launch is not None, "a step needed a launch where there was none"  # noqa: S101 - a bug
        return self.state.launch

    @property
    def descent(self) -> Descent:
        """The present place on the stop ladder; a step asks for it only on the way down."""
        assert self.state.descent is not None, "a step needed a descent where there was none"  # noqa: S101 - a bug
        return self.state.descent

    def do(self, *effects: Effect) -> None:
        """Ask for deeds, after those asked for already."""
        self.effects.extend(effects)

    def qmp(self, command: str, **arguments: Any) -> None:
        """Ask for a QMP command."""
        self.do(Qmp(command, arguments))

    def notice(self, message: str) -> None:
        """Tell something that changes no phase."""
        self.do(Publish(Kind.NOTICE, {"message": message}))

    def saw(self, what: str) -> None:
        """Keep in mind what may be evidence for the run's end."""
        if self.state.launch is not None and what not in self.launch.seen[-1:]:
            self.set_launch(seen=(*self.launch.seen, what)[-SEEN:])

    def collect(self, ending: Ending, decision: str) -> str | None:
        """Have a bundle made; return its id, or None if none are kept."""
        if not self.env.bundles:
            return None
        id_ = id_of(self.env.spec.name, self.env.wall, int(self.env.jitter * 16**4))
        panic = self.state.launch.panic if self.state.launch else None
        self.do(Collect(id_, ending.cause, ending.detail, ending.evidence, decision, panic))
        return id_

    def enter(self, phase: Phase, reason: str) -> None:
        """Come to a phase; ``reason`` is a sentence that says how."""
        if phase is not self.state.phase:
            self.set(since=self.env.now, since_wall=self.env.wall)
        self.set(phase=phase, reason=reason)

    def spawn(self, reason: str) -> None:
        """Begin a launch: nothing of an earlier run is left over. Its token comes with Spawned."""
        self.do(*(Cancel(name) for name in TIMERS))
        self.set(
            launch=Launch(token="", booted_at=self.env.now), connected=False, run_state=None, ending=None, descent=None,
            leave=None, start_after=False, pending=None, trouble=None, next_try=None, ill=None,
        )  # fmt: skip
        self.enter(Phase.STARTING, reason)
        self.do(Spawn())

"""All that the supervisor knows of one guest's life: one immutable value, replaced by each step.

Times are seconds of ``clock.now()`` (since this boot) unless they are called ``wall``.
"""

from __future__ import annotations

import msgspec

from qsup.cause import Cause
from qsup.phase import Phase, Wanted
from qsup.proc.status import ExitStatus


class Ending(msgspec.Struct, frozen=True):
    """Why the present run is coming to its end, known before the process is gone."""

    cause: Cause
    detail: str


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and what was decided then."""

    cause: Cause
    detail: str
    status: ExitStatus | None
    wall: float
    ran: float | None
    decision: str
    stopped_by: str | None = None


class Descent(msgspec.Struct, frozen=True):
    """Where the guest is on the stop ladder."""

    rung: str
    """``agent``, ``acpi``, ``quit``, ``SIGTERM`` or ``SIGKILL``."""
    method: int
    """The index of the present method in ``stop.methods``."""
    presses: int
    began: float


class Launch(msgspec.Struct, frozen=True):
    """One QEMU process, from the decision to start it until its exit was seen."""

    token: str
    pid: int | None = None
    accel: str | None = None
    running_since: float | None = None
    adopted: bool = False
    shutdown_reason: str | None = None
    """The ``reason`` of the last SHUTDOWN event."""
    resets: int = 0
    """How often the guest has reset itself."""
    resets_told: float | None = None
    helpers_down: tuple[str, ...] = ()
    """The helpers that wait for being started anew."""
    helper_ends: int = 0
    """How many ends of replaceable helpers have followed each other closely."""
    helper_ended: float | None = None
    """When the last of them was."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The life of one guest so far."""

    phase: Phase = Phase.STOPPED
    wanted: Wanted = Wanted.STOPPED
    commanded: bool = False
    """An operator has started or stopped it at least once: from then on ``autostart`` has no say."""
    since: float = 0.0
    since_wall: float = 0.0
    reason: str = "never started"
    launch: Launch | None = None
    connected: bool = False
    run_state: str | None = None
    ending: Ending | None = None
    descent: Descent | None = None
    start_after: bool = False
    """When the process is gone, start again: an operator's restart, or a start during a stop."""
    pending: str | None = None
    """The QMP command that a verb waits for."""
    trouble: str | None = None
    failures: tuple[float, ...] = ()
    streak: int = 0
    """Failures in a row, without a stable run between them: the exponent of the delay."""
    next_try: float | None = None
    last_end: End | None = None
    restarts: int = 0

    @property
    def ready(self) -> bool:
        """Whether guests that come after this one may start."""
        return self.phase is Phase.RUNNING

    @property
    def pid(self) -> int | None:
        """QEMU's pid, while there is one."""
        return self.launch.pid if self.launch else None

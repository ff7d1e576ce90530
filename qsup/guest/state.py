"""All that the supervisor knows of one guest's life: one immutable value, replaced by each step.

Times are seconds of ``clock.now()`` (since this boot) unless they are called ``wall``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from qsup.cause import Cause
from qsup.phase import Phase, Wanted
from qsup.status import ExitStatus

STANDING: Final = frozenset({"shutdown", "guest-panicked", "internal-error", "io-error", "watchdog"})
"""Run states in which QEMU itself has stopped the vCPUs."""

OVER: Final = frozenset({"shutdown", "guest-panicked", "internal-error"})
"""Those that an end of the guest leaves behind."""


class Ending(msgspec.Struct, frozen=True):
    """Why a run ends or has ended: the cause, a sentence, and the evidence, a sentence each."""

    cause: Cause
    detail: str
    evidence: tuple[str, ...] = ()


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and what was decided then."""

    cause: Cause
    detail: str
    status: ExitStatus | None
    wall: float
    ran: float | None
    decision: str
    stopped_by: str | None = None
    evidence: tuple[str, ...] = ()
    """What it was concluded from, a sentence each."""
    bundle: str | None = None
    """The id of the bundle that was made of it."""


class Descent(msgspec.Struct, frozen=True):
    """Where the guest is on the stop ladder."""

    rung: str
    """``agent``, ``acpi``, ``quit``, ``SIGTERM`` or ``SIGKILL``."""
    method: int
    """The index of the present method in ``stop.methods``."""
    presses: int
    began: float
    ours: bool = False
    """Whether it is a rule that wants the guest down, and no operator."""


class Leave(msgspec.Struct, frozen=True):
    """It is stopped with all other guests, not for good, and has been until it is started again."""

    until: float
    """When no process may be left: its share of the time that all have."""
    host_down: bool
    """The host itself goes down."""


class DiskTrouble(msgspec.Struct, frozen=True):
    """The last error of a disk that QEMU told of."""

    node: str
    """The disk's id; QEMU's own name for it where it is none of the file's."""
    operation: str
    no_space: bool
    at: float


class Launch(msgspec.Struct, frozen=True):
    """One QEMU process, from the decision to start it until its exit was seen."""

    token: str
    pid: int | None = None
    accel: str | None = None
    running_since: float | None = None
    adopted: bool = False
    ready_after: float | None = None
    """Seconds from ``booted_at`` until it was ready; None as long as it is not."""
    not_ready: str | None = None
    """What the last look at whether it is ready has come to."""
    booted_at: float | None = None
    """When its start was decided, or it was last reset."""
    shutdown_reason: str | None = None
    """The ``reason`` of the last SHUTDOWN event."""
    watchdog: str | None = None
    """The ``action`` of a WATCHDOG event whose consequence is still to come."""
    crashloaded: bool = False
    """The guest's crash kernel is at work; what comes next is the end of that."""
    panic: str | None = None
    """What the guest's kernel printed as it panicked."""
    disk: DiskTrouble | None = None
    disk_told: float | None = None
    """When an error of a disk was last told of."""
    retries: int = 0
    """How often it was let go on after trouble with a disk, without a calm time between."""
    retried: float | None = None
    """When it last was."""
    seen: tuple[str, ...] = ()
    """The last few events of this run that say something about its end, a sentence each."""
    resets: int = 0
    """How often the guest has reset itself."""
    resets_told: float | None = None
    helpers_down: tuple[str, ...] = ()
    """The helpers that wait for being started anew."""
    helper_ends: int = 0
    """How many ends of replaceable helpers have followed each other closely."""
    helper_ended: float | None = None
    """When the last of them was."""


class Ill(msgspec.Struct, frozen=True):
    """What is wrong with a guest that lives."""

    cause: Cause
    detail: str
    since: float
    stage: int = 0
    """The stage of ``[hang]`` that comes next."""


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
    leave: Leave | None = None
    start_after: bool = False
    """When the process is gone, start again: an operator's restart, or a start during a stop."""
    pending: str | None = None
    """The QMP command that a verb waits for."""
    trouble: str | None = None
    ill: Ill | None = None
    """What is wrong with it while it lives: it hangs, a check of its health fails."""
    maintenance: float | None = None
    """Until when nobody is to be alarmed by it."""
    failures: tuple[float, ...] = ()
    streak: int = 0
    """Failures in a row, without a stable run between them: the exponent of the delay."""
    resets: tuple[float, ...] = ()
    """When it has reset itself, within the window."""
    next_try: float | None = None
    last_end: End | None = None
    restarts: int = 0

    @property
    def ready(self) -> bool:
        """Whether guests that come after this one may start."""
        return self.phase is Phase.RUNNING and self.launch is not None and self.launch.ready_after is not None

    @property
    def pid(self) -> int | None:
        """QEMU's pid, while there is one."""
        return self.launch.pid if self.launch else None

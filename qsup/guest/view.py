"""What the outside sees of a guest: the facts behind ``list``, ``status`` and ``why``."""

from __future__ import annotations

import msgspec

from qsup.cause import Cause
from qsup.phase import Phase, Wanted


class EndView(msgspec.Struct, frozen=True, kw_only=True):
    """How the last run ended and what was decided then."""

    cause: Cause
    detail: str
    """A sentence: the evidence."""
    status: str | None
    """``exit 0``, ``signal 9 (SIGKILL)``, or None while or as long as it is not known."""
    at: float
    """Wall time, seconds."""
    ran: float | None
    """How long the vCPUs had run, seconds."""
    decision: str
    """The rule that decided and what it said: ``restart.policy on-failure: restart``."""
    evidence: tuple[str, ...]
    """What the cause was concluded from, a sentence each."""
    bundle: str | None
    """The id of the bundle that was made of it, for `qsup crash show`."""


class IllView(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a guest that lives. ``at`` is wall time."""

    cause: Cause
    detail: str
    at: float


class GuestView(msgspec.Struct, frozen=True, kw_only=True):
    """One guest, now. Times are wall time in seconds."""

    name: str
    phase: Phase
    ready: bool
    ready_after: float | None
    """Seconds from its start, or its last reset, until it was ready."""
    not_ready: str | None
    """What the last look at whether it is ready has come to, as long as it is not."""
    pid: int | None
    wanted: Wanted
    cause: Cause | None
    """The cause of the last end, if there was one."""
    restarts: int
    """Automatic restarts since an operator last started it."""
    since: float
    """When it came to this phase."""
    reason: str
    """Why it is in this phase, as a sentence."""
    next_try: float | None
    """When the next start is due, in phase ``backoff``."""
    run_state: str | None
    """QMP's word for the state of the vCPUs, while a session exists."""
    waiting_for: tuple[str, ...]
    """Guests that must be ready before this one starts."""
    failures: int
    """Failures within the window."""
    limit: int
    last_end: EndView | None
    ill: IllView | None
    maintenance: float | None
    """Until when it is under maintenance."""
    started_at: float | None
    adopted: bool
    """This process was started by an earlier daemon."""
    file: str | None
    """The guest's file; None once it has gone."""
    orphaned: bool
    """The file has gone; the guest runs until it is stopped."""
    changes: tuple[str, ...]
    """What an edited file would change at the next start: ``memory.size: 1 GiB → 2 GiB``."""
    problems: tuple[str, ...]
    """Why its file cannot be used, one problem each."""
    description: str
    machine: str
    """The machine type that it runs with; without a process, that of its file."""
    accel: str | None
    qemu: str | None
    """The version of the QEMU that runs it, as it says itself."""
    memory: int
    """Bytes."""
    cpus: int
    run_dir: str | None
    serials: tuple[str, ...]
    """The ids of its serial ports."""
    helpers: dict[str, int]
    """The pids of the processes beside QEMU that it has, by their names: ``tpm``, ``share-data``, ``net-lan``."""
    scope: str | None
    """What its processes are in: the name of a systemd unit, or of a cgroup; None if they have none of their own."""
    limits: dict[str, str]
    """What holds for them, as its file would say it: ``{"tasks-max": "500"}``; without a process, what will."""
    display: str | None
    """``vnc on unix:/…``, ``spice on 127.0.0.1:5930, TLS``, ``egl-headless``; None without a screen."""
    trouble: str | None
    """What went wrong with the last verb, as a sentence."""
    stopped_by: str | None
    """The rung of the stop ladder that ended the last run: ``acpi``, ``quit``, ``SIGKILL`` …"""

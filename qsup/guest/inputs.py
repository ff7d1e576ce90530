"""Everything that can happen to a guest, as values that go through its one inbox in order."""

from __future__ import annotations

from typing import Any

import msgspec

from qsup.cause import Cause
from qsup.guest.state import Launch, Leave
from qsup.phase import Verb
from qsup.status import ExitStatus


class Command(msgspec.Struct, frozen=True):
    """An operator's verb; ``by`` says who, for the log."""

    verb: Verb
    by: str
    lasting: bool = True
    """Whether a stop is the operator's word on the guest from now on; else it is started again with the host."""
    leave: Leave | None = None
    """A stop with all other guests."""


class Due(msgspec.Struct, frozen=True):
    """The supervisor's wish to start the guest: its turn at start-up has come. Changes no operator's word."""


class Spawned(msgspec.Struct, frozen=True):
    """The process of the present launch exists."""

    token: str
    pid: int
    accel: str


class LaunchFailed(msgspec.Struct, frozen=True):
    """No process came of the launch."""

    detail: str


class Connected(msgspec.Struct, frozen=True):
    """A QMP session stands; ``run_state`` is the ``status`` of ``query-status``.

    ``rests_by`` is what brought the guest to rest while nobody was there: ``guest-shutdown``, ``guest-reset``,
    ``triple-fault``; None if nothing tells.
    """

    run_state: str
    rests_by: str | None = None


class ConnectFailed(msgspec.Struct, frozen=True):
    """The process lives, but no QMP session could be made. ``late``: it did not answer in time."""

    detail: str
    late: bool = False


class Lost(msgspec.Struct, frozen=True):
    """The QMP session ended."""

    detail: str


class Happened(msgspec.Struct, frozen=True):
    """An event from QEMU, its data checked for type and size only: the guest may have forged it."""

    name: str
    data: dict[str, Any]
    triple_fault: bool = False
    """QEMU's log shows a triple fault just before this RESET."""
    printed: str | None = None
    """What the guest's kernel printed on its console as it panicked."""
    late: bool = False
    """Found out afterwards, for those who may have missed the event."""


class RunState(msgspec.Struct, frozen=True):
    """The answer to ``query-status``."""

    run_state: str


class QmpDone(msgspec.Struct, frozen=True):
    """A QMP command that step asked for was executed (``error`` None), or not."""

    command: str
    error: str | None = None


class AgentAnswered(msgspec.Struct, frozen=True):
    """The guest agent took ``guest-shutdown`` (``error`` None), or did not."""

    error: str | None = None


class Exited(msgspec.Struct, frozen=True):
    """The process is gone. ``status`` is None as long as the kernel has not told; ``stderr`` is QEMU's last words.

    ``oom`` is what the kernel says of having killed it for want of memory; ``host_down``: the host goes down.
    ``unit_stopped``: systemd has ended it, which somebody wants who has stopped its scope.
    """

    status: ExitStatus | None
    stderr: str
    oom: str | None = None
    host_down: bool = False
    unit_stopped: bool = False


class HelperExited(msgspec.Struct, frozen=True):
    """A helper process has ended while QEMU lives; ``stderr`` are its last words.

    ``replaceable``: QEMU takes a new one in its place. Without ``started`` there was none yet, as it could not be
    started anew, and ``stderr`` says why.
    """

    name: str
    status: ExitStatus | None
    stderr: str
    replaceable: bool = False
    started: bool = True


class StatusKnown(msgspec.Struct, frozen=True):
    """The exit status of the last run became known after its end."""

    status: ExitStatus


class Ready(msgspec.Struct, frozen=True):
    """The check of ``[ready]`` has passed; ``detail`` says how."""

    detail: str


class NotReady(msgspec.Struct, frozen=True):
    """The check of ``[ready]`` has looked, and it has come to something else than before."""

    detail: str


class Health(msgspec.Struct, frozen=True):
    """A check of ``[[health]]`` has failed as often as it may, or passes again (``detail`` None)."""

    name: str
    detail: str | None


class Pulse(msgspec.Struct, frozen=True):
    """QEMU or its guest has begun to hang (``cause``), or is well again (None).

    ``evidence`` are the observations, a sentence each. ``alone``: why nothing is to be done about it.
    """

    cause: Cause | None
    detail: str
    evidence: tuple[str, ...] = ()
    alone: str | None = None


class Space(msgspec.Struct, frozen=True):
    """There is room again where a disk has its image."""

    detail: str


class Maintenance(msgspec.Struct, frozen=True):
    """An operator works on the guest until ``until`` (``clock.now()``), or has done with it (None)."""

    until: float | None
    by: str


class Timer(msgspec.Struct, frozen=True):
    """A timer that step armed has run out."""

    name: str


class Restored(msgspec.Struct, frozen=True):
    """A new daemon took over, ``same_boot`` or after a reboot of the host.

    ``alive`` is the launch whose process still runs and was adopted; ``exited`` and ``unheard`` are what is left of
    one that has ended unseen. Without either there had been no process.
    """

    same_boot: bool
    alive: Launch | None = None
    exited: Exited | None = None
    unheard: tuple[Happened, ...] = ()
    """What QEMU had told, in order, since nobody listened."""
    shift: float = 0.0
    """After a reboot: what to add to a time of the last boot to have the time of this one that is as long ago."""


Watched = HelperExited | Ready | NotReady | Health | Pulse | Space | Maintenance
"""What those tell who watch a guest that lives, or work on it."""
Input = (
    Command
    | Due
    | Spawned
    | LaunchFailed
    | Connected
    | ConnectFailed
    | Lost
    | Happened
    | RunState
    | QmpDone
    | AgentAnswered
    | Exited
    | StatusKnown
    | Timer
    | Restored
    | Watched
)

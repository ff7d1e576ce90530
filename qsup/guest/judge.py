"""Why a run has ended: from all the evidence to one cause. Pure.

The order is that of how much is known: what an operator or the supervisor itself has done, what was seen of the
guest's end before QEMU's, what the kernel says, what QEMU said as it left, and its exit status last: it says next to
nothing, as a QEMU whose guest panicked and one that got SIGTERM both exit with 0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.cause import Cause
from qsup.guest.state import Ending
from qsup.phase import Phase, Wanted
from qsup.proc.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.guest.state import Launch, State

_SIGNAL: Final = re.compile(r"terminating on signal (\d{1,2})(?: from pid (\d{1,10}) \((.{0,64}?)\))?")
"""QEMU's words as it leaves because of a signal (``qemu_kill_report`` in its ``system/runstate.c``)."""
_ABORT: Final = re.compile(
    r"qemu: fatal: .{1,300}|Assertion [`'\"]?.{1,300}|assertion failed: .{1,300}"
    r"|hardware error: .{1,300}|code should not be reached.{0,200}"
)
"""How glibc, glib and QEMU itself put it that they cannot go on."""
_KVM: Final = re.compile(r"KVM internal error\. Suberror: .{1,80}|error: kvm run failed .{1,120}")
SIGABRT: Final = 6
SIGKILL: Final = 9
SHOWN: Final = 500
"""Characters of QEMU's last words."""


class Death(msgspec.Struct, frozen=True):
    """What is left of a process: its status if it is known, its last words, and the kernel's if it killed it.

    ``host_down``: the host is on its way down. ``unit_stopped``: systemd has ended it.
    """

    status: ExitStatus | None
    stderr: str
    oom: str | None = None
    host_down: bool = False
    unit_stopped: bool = False


def judge(state: State, death: Death) -> Ending:
    """Name the cause of an end, from all that was seen of the run."""
    ending = _operator(state) or _known(state, death) or _dead(state, death)
    return msgspec.structs.replace(ending, evidence=(*ending.evidence, *_evidence(state.launch, death)))


def _operator(state: State) -> Ending | None:
    """An operator's stop, unless it is the supervisor itself that shuts the guest down."""
    ours = state.ending is not None and state.wanted is Wanted.RUNNING and not state.start_after
    if state.descent is None or ours:
        return None
    if state.leave is not None and state.leave.host_down:
        return Ending(Cause.HOST_SHUTDOWN, f"the host goes down; stopped by {state.descent.rung or 'qsup'}")
    return Ending(Cause.OPERATOR, f"stopped by {state.descent.rung or 'an operator'}")


def _known(state: State, death: Death) -> Ending | None:
    """What was known before the process had gone."""
    ending = state.ending
    if ending is not None and ending.cause is Cause.KVM_INTERNAL_ERROR:
        said = _KVM.search(death.stderr)
        return msgspec.structs.replace(ending, detail=f"{ending.detail}: {said[0]}") if said else ending
    return ending


def _dead(state: State, death: Death) -> Ending:
    """What the process left behind tells."""
    said = f"; QEMU said: {last}" if (last := last_line(death.stderr)) else ""
    reason = state.launch.shutdown_reason if state.launch else None
    if death.oom is not None:
        return Ending(Cause.OUT_OF_MEMORY, death.oom)
    if reason == "host-signal":
        return _signalled(death)
    if reason == "host-qmp-quit":
        return Ending(Cause.QEMU_EXIT, "somebody told QEMU to quit over a monitor")
    if state.launch is not None and state.launch.watchdog == "poweroff":
        return Ending(Cause.WATCHDOG, "its watchdog device fired and powered it off")
    if reason == "guest-shutdown":
        return Ending(Cause.GUEST_SHUTDOWN, "the guest powered itself off")
    if state.phase is Phase.STARTING:
        how = death.status or "status unknown"
        return Ending(Cause.START_FAILED, f"QEMU ended ({how}) before the guest ran{said}")
    return from_status(death.status, death.stderr)


def _signalled(death: Death) -> Ending:
    """A signal that QEMU took as a wish to end."""
    if death.host_down:
        return Ending(Cause.HOST_SHUTDOWN, "the host goes down, and ended QEMU")
    if death.unit_stopped:
        return Ending(Cause.OPERATOR, "systemd ended QEMU: somebody has stopped its scope")
    told = _SIGNAL.search(death.stderr)
    if told is None:
        return Ending(Cause.QEMU_SIGNAL, "somebody sent QEMU a signal that ends it")
    number, pid, program = told.groups()
    sender = f" from pid {pid} ({program})" if pid else ""
    return Ending(Cause.QEMU_SIGNAL, f"QEMU got signal {number}{sender}")


def from_status(status: ExitStatus | None, stderr: str = "") -> Ending:
    """The cause of an end of which nothing but the exit status and the last words are known."""
    said = f"; QEMU said: {last}" if (last := last_line(stderr)) else ""
    abort = _ABORT.search(stderr)
    if abort is not None and (status is None or status.how == "signal"):
        return Ending(Cause.QEMU_ABORT, abort[0])
    if status is None:
        why = "QEMU is gone, and the kernel tells its exit status only to its parent"
        return Ending(Cause.UNKNOWN, f"{why}{said}")
    if status.how != "signal":
        return Ending(Cause.QEMU_EXIT, f"QEMU exited with status {status.number}{said}")
    if status.number == SIGABRT:
        return Ending(Cause.QEMU_ABORT, f"QEMU aborted{said}")
    unnamed = "; the kernel does not tell who sent it" if status.number == SIGKILL else ""
    return Ending(Cause.QEMU_SIGNAL, f"{status} ended QEMU{unnamed}{said}")


def _evidence(launch: Launch | None, death: Death) -> Iterator[str]:
    yield from launch.seen if launch else ()
    if launch is not None and launch.panic:
        yield f"the guest printed: {launch.panic}"
    yield f"QEMU's exit status: {death.status or 'unknown'}"
    if last := last_line(death.stderr):
        yield f"QEMU's last words: {last}"
    if death.oom:
        yield f"the kernel: {death.oom}"


def last_line(text: str) -> str:
    """QEMU's last words; its warnings are about something else than its end."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and " warning: " not in line]
    return lines[-1][:SHOWN] if lines else ""

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.guest.inputs import Exited
    from qsup.guest.state import Launch, State
    from qsup.status import ExitStatus

_SIGNAL: Final = re.compile(r"terminating on signal (\d{1,2})(?: from pid (\d{1,10}) \((.{0,64}?)\))?")
"""QEMU's words as it leaves because of a signal (``qemu_kill_report`` in its ``system/runstate.c``)."""
_ABORT: Final = re.compile(
    r"qemu: fatal: .{1,300}|Assertion [`'\"]?.{1,300}|assertion failed: .{1,300}"
    r"|hardware error: .{1,300}|code should not be reached.{0,200}"
)
"""How glibc, glib and QEMU itself put it that they cannot go on."""
_KVM: Final = re.compile(r"KVM internal error\. Suberror: .{1,80}|error: kvm run failed .{1,120}")
_MSR: Final = re.compile(r"error: failed to [gs]et MSR 0x.{1,80}")
"""A register of the CPU model that KVM refuses, most of all inside another machine; QEMU aborts after these words."""
SIGABRT: Final = 6
SIGKILL: Final = 9
SHOWN: Final = 500
"""Characters of QEMU's last words."""


def judge(state: State, exited: Exited) -> Ending:
    """Name the cause of an end, from all that was seen of the run."""
    ending = _operator(state) or _known(state, exited) or _dead(state, exited)
    return msgspec.structs.replace(ending, evidence=(*ending.evidence, *_evidence(state.launch, exited)))


def _operator(state: State) -> Ending | None:
    """An operator's stop, unless it is the supervisor itself that shuts the guest down."""
    if state.descent is None or (state.descent.ours and state.wanted is Wanted.RUNNING):
        return None
    if state.leave is not None and state.leave.host_down:
        return Ending(Cause.HOST_SHUTDOWN, f"the host goes down; stopped by {state.descent.rung or 'qsup'}")
    return Ending(Cause.OPERATOR, f"stopped by {state.descent.rung or 'an operator'}")


def _known(state: State, exited: Exited) -> Ending | None:
    """What was known before the process had gone."""
    ending = state.ending
    if ending is not None and ending.cause is Cause.KVM_INTERNAL_ERROR:
        said = _KVM.search(exited.stderr)
        return msgspec.structs.replace(ending, detail=f"{ending.detail}: {said[0]}") if said else ending
    return ending


def _dead(state: State, exited: Exited) -> Ending:
    """What the process left behind tells."""
    said = f"; QEMU said: {last}" if (last := last_line(exited.stderr)) else ""
    reason = state.launch.shutdown_reason if state.launch else None
    if exited.oom is not None:
        return Ending(Cause.OUT_OF_MEMORY, exited.oom)
    if reason == "host-signal" or _SIGNAL.search(exited.stderr):
        return _signalled(exited)
    if reason == "host-qmp-quit":
        return Ending(Cause.QEMU_EXIT, "somebody told QEMU to quit over a monitor")
    if state.launch is not None and state.launch.watchdog == "poweroff":
        return Ending(Cause.WATCHDOG, "its watchdog device fired and powered it off")
    if reason == "guest-shutdown":
        return Ending(Cause.GUEST_SHUTDOWN, "the guest powered itself off")
    if state.phase is Phase.STARTING:
        how = exited.status or "status unknown"
        if msr := _MSR.search(exited.stderr):
            said = f"; QEMU said: {msr[0]}: KVM cannot give this CPU; change cpu.model or cpu.features"
        return Ending(Cause.START_FAILED, f"QEMU ended ({how}) before the guest ran{said}")
    return from_status(exited.status, exited.stderr)


def _signalled(exited: Exited) -> Ending:
    """A signal that QEMU took as a wish to end."""
    if exited.host_down:
        return Ending(Cause.HOST_SHUTDOWN, "the host goes down, and ended QEMU")
    if exited.unit_stopped:
        return Ending(Cause.OPERATOR, "systemd ended QEMU: somebody has stopped its scope")
    told = _SIGNAL.search(exited.stderr)
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


def _evidence(launch: Launch | None, exited: Exited) -> Iterator[str]:
    yield from launch.seen if launch else ()
    if launch is not None and launch.panic:
        yield f"the guest printed: {launch.panic}"
    yield _status(exited.status)
    if last := last_line(exited.stderr):
        yield f"QEMU's last words: {last}"
    if exited.oom:
        yield f"the kernel: {exited.oom}"


def _status(status: ExitStatus | None) -> str:
    return f"QEMU's exit status: {status or 'unknown'}"


def completed(evidence: tuple[str, ...], status: ExitStatus) -> tuple[str, ...]:
    """The evidence, now that the exit status is known."""
    return tuple(_status(status) if line == _status(None) else line for line in evidence)


def last_line(text: str) -> str:
    """QEMU's last words; its warnings are about something else than its end."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and " warning: " not in line]
    return lines[-1][:SHOWN] if lines else ""

"""From evidence to a cause: each is its own, whatever the exit status says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.cause import Cause
from qsup.guest.inputs import Exited
from qsup.guest.judge import completed, judge
from qsup.guest.panic import panic_message
from qsup.guest.state import Descent, Ending, Launch, State
from qsup.phase import Phase, Wanted
from qsup.status import ExitStatus
from tests.unit.guest_states import LAUNCH, STATES, changed

RUNNING = STATES[Phase.RUNNING]
ASSERTION = "qemu-system-x86_64: ../hw/virtio/virtio.c:10: f: Assertion `vdev->vm_running' failed.\n"
MSR = "qemu: error: failed to set MSR 0x10a to 0x69\nqemu: ../kvm.c:3183: f: Assertion `r' failed.\n"
GLIB = "**\nERROR:../qom/object.c:711:object_new: assertion failed: (type != NULL)\nBail out!\n"


def with_launch(state: State = RUNNING, **changes: object) -> State:
    return changed(state, launch=Launch(token=LAUNCH.token, pid=LAUNCH.pid, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "exited", "cause", "detail"),
    [
        (RUNNING, Exited(ExitStatus("signal", 9), ""), Cause.QEMU_SIGNAL, "signal 9 (SIGKILL) ended QEMU"),
        (RUNNING, Exited(ExitStatus("signal", 11), ""), Cause.QEMU_SIGNAL, "signal 11 (SIGSEGV) ended QEMU"),
        (RUNNING, Exited(ExitStatus("signal", 6), ASSERTION), Cause.QEMU_ABORT, "vdev->vm_running"),
        (
            RUNNING,
            Exited(ExitStatus("signal", 6), GLIB),
            Cause.QEMU_ABORT,
            "assertion failed: (type != NULL)",
        ),
        (RUNNING, Exited(ExitStatus("signal", 6), ""), Cause.QEMU_ABORT, "QEMU aborted"),
        (RUNNING, Exited(None, ASSERTION), Cause.QEMU_ABORT, "Assertion"),
        (RUNNING, Exited(ExitStatus("exit", 33), ""), Cause.QEMU_EXIT, "status 33"),
        (RUNNING, Exited(None, ""), Cause.UNKNOWN, "only to its parent"),
        (RUNNING, Exited(ExitStatus("signal", 9), "", oom="no memory"), Cause.OUT_OF_MEMORY, "no memory"),
        (STATES[Phase.STARTING], Exited(ExitStatus("exit", 1), "qemu: no"), Cause.START_FAILED, "qemu: no"),
        (
            STATES[Phase.STARTING],
            Exited(ExitStatus("signal", 6), MSR),
            Cause.START_FAILED,
            "QEMU said: error: failed to set MSR 0x10a to 0x69: KVM cannot give this CPU; change cpu.model",
        ),
        (
            with_launch(shutdown_reason="host-signal"),
            Exited(ExitStatus("exit", 0), "qemu: terminating on signal 15 from pid 4711 (/bin/kill)\n"),
            Cause.QEMU_SIGNAL,
            "QEMU got signal 15 from pid 4711 (/bin/kill)",
        ),
        (
            RUNNING,
            Exited(None, "qemu: terminating on signal 15 from pid 4711 (/bin/kill)\n"),
            Cause.QEMU_SIGNAL,
            "QEMU got signal 15 from pid 4711 (/bin/kill)",
        ),
        (
            RUNNING,
            Exited(None, "qemu: terminating on signal 15 from pid 1 (init)\n", host_down=True),
            Cause.HOST_SHUTDOWN,
            "the host goes down",
        ),
        (
            with_launch(shutdown_reason="host-signal"),
            Exited(ExitStatus("exit", 0), "qemu: terminating on signal 2\n"),
            Cause.QEMU_SIGNAL,
            "QEMU got signal 2",
        ),
        (
            with_launch(shutdown_reason="host-signal"),
            Exited(ExitStatus("exit", 0), "qemu: terminating on signal 15 from pid 1 (init)", host_down=True),
            Cause.HOST_SHUTDOWN,
            "the host goes down",
        ),
        (
            with_launch(shutdown_reason="host-signal"),
            Exited(
                ExitStatus("exit", 0), "qemu: terminating on signal 15 from pid 1 (init)", unit_stopped=True
            ),
            Cause.OPERATOR,
            "somebody has stopped its scope",
        ),
        (
            with_launch(shutdown_reason="host-qmp-quit"),
            Exited(ExitStatus("exit", 0), ""),
            Cause.QEMU_EXIT,
            "over a monitor",
        ),
        (
            with_launch(watchdog="poweroff"),
            Exited(ExitStatus("exit", 0), ""),
            Cause.WATCHDOG,
            "powered it off",
        ),
        (
            with_launch(shutdown_reason="guest-shutdown"),
            Exited(ExitStatus("exit", 0), ""),
            Cause.GUEST_SHUTDOWN,
            "powered itself off",
        ),
        (
            changed(RUNNING, ending=Ending(Cause.KVM_INTERNAL_ERROR, "KVM cannot go on")),
            Exited(ExitStatus("exit", 0), "KVM internal error. Suberror: 1\nemulation failure\n"),
            Cause.KVM_INTERNAL_ERROR,
            "Suberror: 1",
        ),
        (
            changed(RUNNING, ending=Ending(Cause.GUEST_PANIC, "it panicked")),
            Exited(ExitStatus("exit", 0), ""),
            Cause.GUEST_PANIC,
            "it panicked",
        ),
    ],
)
def test_the_evidence_decides(state: State, exited: Exited, cause: Cause, detail: str) -> None:
    ending = judge(state, exited)
    assert ending.cause is cause
    assert detail in ending.detail


def test_a_shutdown_of_the_supervisors_own_is_no_operators() -> None:
    ill = Ending(Cause.GUEST_UNHEALTHY, "the check web failed")
    ours = changed(RUNNING, ending=ill, descent=Descent("acpi", 1, 1, 0.0, True), phase=Phase.STOPPING)
    assert judge(ours, Exited(ExitStatus("exit", 0), "")).cause is Cause.GUEST_UNHEALTHY
    theirs = changed(ours, wanted=Wanted.STOPPED)
    assert judge(theirs, Exited(ExitStatus("exit", 0), "")).cause is Cause.OPERATOR
    # That it is started again afterwards is an operator's wish, and no reason for its end.
    anew = changed(ours, start_after=True)
    assert judge(anew, Exited(ExitStatus("exit", 0), "")).cause is Cause.GUEST_UNHEALTHY
    restarted = changed(anew, descent=Descent("acpi", 1, 1, 0.0))
    assert judge(restarted, Exited(ExitStatus("exit", 0), "")).cause is Cause.OPERATOR


def test_the_evidence_is_kept() -> None:
    state = with_launch(seen=("QEMU's event SHUTDOWN: reason host-signal",), shutdown_reason="host-signal")
    ending = judge(state, Exited(ExitStatus("exit", 0), "warning: x\nqemu: terminating on signal 15\n"))
    assert ending.evidence == (
        "QEMU's event SHUTDOWN: reason host-signal",
        "QEMU's exit status: exit 0",
        "QEMU's last words: qemu: terminating on signal 15",
    )


def test_a_status_that_comes_late_completes_the_evidence() -> None:
    unknown = judge(RUNNING, Exited(None, "qemu: hm\n")).evidence
    assert completed(unknown, ExitStatus("signal", 9)) == (
        "QEMU's exit status: signal 9 (SIGKILL)",
        "QEMU's last words: qemu: hm",
    )


@given(st.sampled_from([*STATES.values()]), st.text(max_size=400), st.integers(0, 64) | st.none())
def test_every_end_has_a_cause(state: State, stderr: str, number: int | None) -> None:
    status = None if number is None else ExitStatus("signal" if number % 2 else "exit", number)
    ending = judge(state, Exited(status, stderr))
    assert ending.cause in Cause
    assert len(ending.detail) < 1200


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        (b"", None),
        (b"all is well\n", None),
        (
            b"[    2.1] Kernel panic - not syncing: sysrq triggered crash\r\n[    2.2] CPU: 0",
            "Kernel panic - not syncing: sysrq triggered crash",
        ),
        (b"\x1b[31mBUG: unable to handle page fault\x1b[0m\r\n", "BUG: unable to handle page fault"),
        (b"panic: vm_fault: fault on nofault entry\n", "panic: vm_fault: fault on nofault entry"),
        (b"Kernel panic - not syncing: \xff\xfe\n", "Kernel panic - not syncing: \ufffd\ufffd"),
    ],
)
def test_the_words_of_a_panic_are_found(printed: bytes, message: str | None) -> None:
    assert panic_message(printed) == message

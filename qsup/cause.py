"""Why a guest's run ended, or was disturbed: one closed set, in the words of files, events and answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """Why a run ended, or why the guest changed without ending."""

    OPERATOR = "operator"
    HOST_SHUTDOWN = "host-shutdown"
    """The host went down, and the guest with it."""
    GUEST_SHUTDOWN = "guest-shutdown"
    GUEST_RESET = "guest-reset"
    REBOOT_LOOP = "reboot-loop"
    """The guest has reset itself more often within the window than its file lets it."""
    GUEST_PANIC = "guest-panic"
    GUEST_CRASHLOADED = "guest-crashloaded"
    """The guest's kernel panicked, and has handed over to its crash kernel."""
    WATCHDOG = "watchdog"
    """The guest had armed its watchdog device and did not feed it."""
    TRIPLE_FAULT = "triple-fault"
    GUEST_HUNG = "guest-hung"
    """QEMU is well, and the guest makes no progress."""
    GUEST_UNHEALTHY = "guest-unhealthy"
    """A check in `[[health]]` has failed as often as its file allows."""
    QEMU_EXIT = "qemu-exit"
    QEMU_SIGNAL = "qemu-signal"
    QEMU_ABORT = "qemu-abort"
    """QEMU found itself in a state that cannot be: an assertion, or glib's abort."""
    QEMU_HUNG = "qemu-hung"
    """QEMU's main loop answers nothing."""
    QEMU_STOPPED = "qemu-stopped"
    """A signal has stopped the process; the kernel gives it no time."""
    QMP_LOST = "qmp-lost"
    """The process lives and no QMP session to it can be had."""
    KVM_INTERNAL_ERROR = "kvm-internal-error"
    OUT_OF_MEMORY = "out-of-memory"
    """The kernel killed QEMU for want of memory, of the host or of its cgroup."""
    IO_ERROR = "io-error"
    NO_SPACE = "no-space"
    IMAGE_CORRUPT = "image-corrupt"
    """QEMU met damage in the metadata of an image and has closed it to the guest."""
    HELPER_DIED = "helper-died"
    """A process beside QEMU that one of its devices cannot do without has ended."""
    START_FAILED = "start-failed"
    START_TIMEOUT = "start-timeout"
    """QEMU did not answer, or the guest was not ready, in the time that its file gives."""
    UNKNOWN = "unknown"
    """The process is gone and nobody was there to be told how: ``detail`` says why it is unknown."""


FAILURES: Final = frozenset(Cause) - {
    Cause.OPERATOR,
    Cause.HOST_SHUTDOWN,
    Cause.GUEST_SHUTDOWN,
    Cause.GUEST_RESET,
}
"""The causes that ``policy = "on-failure"`` answers with a restart."""

"""What was seen of a guest and its QEMU at one moment. Pure.

Points of time are those of :func:`qsup.clock.now`, passed in; everything else is seconds of something.
"""

from __future__ import annotations

from typing import Final

import msgspec

RUNNING: Final = "running"
"""The run state in which vCPUs run."""
UNINTERRUPTIBLE: Final = "D"
STOPPED: Final = "T"
TRACED: Final = "t"
RUNNABLE: Final = "R"
"""States of a thread (``proc_pid_stat(5)``); T is a signal's doing, t a debugger's."""


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A thread of QEMU, as the kernel tells of it."""

    tid: int
    name: str
    state: str
    """One letter."""
    ran: float
    """Seconds of CPU time that it has had."""
    turns: int = 0
    """How often it has been given a CPU; 0 where the kernel does not count."""
    waits_in: str = ""
    """The kernel's function that it waits in; empty where that is not told."""

    def has_not_run_since(self, before: Thread) -> bool:
        """Whether it is the same thread and has had no CPU at all since an earlier look."""
        return (self.tid, self.turns, self.ran) == (before.tid, before.turns, before.ran)


class Pressure(msgspec.Struct, frozen=True):
    """Seconds, since the host's boot, in which all that had work to do stood still (``full``: kernel's psi.rst)."""

    io: float
    memory: float


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A QEMU process and the host that it runs on, looked at because it does not answer."""

    at: float
    threads: tuple[Thread, ...]
    """The main thread first, whose state is the process's."""
    frozen: bool = False
    """Whether its cgroup is."""
    pressure: Pressure | None = None
    """None where the kernel does not tell it."""

    @property
    def main(self) -> Thread:
        """The thread of the main loop."""
        return self.threads[0]


class Vcpu(msgspec.Struct, frozen=True, kw_only=True):
    """A vCPU and the thread that runs it; under TCG one thread may run them all."""

    index: int
    thread: Thread
    interrupts: bool
    """Whether it takes interrupts: the flag IF."""
    halted: bool
    """Whether it rests until one comes (HLT)."""
    address: int
    """Where in the guest it is."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest does that shows outside, counted since its start; None where it cannot be read."""

    disk: int | None = None
    """Requests to its disks."""
    sent: int | None = None
    """Bytes that it has sent through tap interfaces. Received ones are others' doing."""
    served: int | None = None
    """Interrupts given to it, and the rests, accesses to devices and calls for which KVM took over."""

    def differs(self, before: Work) -> bool:
        """Whether anything that could be read both times has changed."""
        pairs = ((self.disk, before.disk), (self.sent, before.sent), (self.served, before.served))
        return any(now != then for now, then in pairs if now is not None and then is not None)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A look into a guest: at its vCPUs in turn, up to the first that takes interrupts; one is enough."""

    at: float
    vcpus: tuple[Vcpu, ...]
    stuck: Thread | None = None
    """A thread of a vCPU that was in no state to be asked: the look ended there."""
    work: Work = Work()
    """Looked at only if no vCPU takes interrupts."""

    @property
    def awake(self) -> bool:
        """Whether a vCPU takes interrupts."""
        return any(vcpu.interrupts for vcpu in self.vcpus)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen at one moment."""

    at: float
    lag: float = 0.0
    """How much later it was taken than it should have been: the host, or the daemon, had no time for it."""
    slept: float = 0.0
    """How long the host has been suspended since its boot."""
    busy: bool = False
    """Whether something goes on that may rightly hold up QEMU or its guest: then nothing is held against them."""
    booted: float | None = None
    """When the machine last began anew; None: long ago."""

    session: bool = True
    """Whether there is a QMP session."""
    greets: bool = False
    """Without one: whether the monitor greets whoever calls, and answers nothing then."""
    heard: float | None = None
    """When QEMU last answered."""
    silent_since: float | None = None
    """When it was first asked what it has not answered yet, or the session was lost; None if it answers."""
    latency: float | None = None
    """Seconds that the last answer took."""
    urgent: bool | None = None
    """Whether it has answered out of band, where its main loop is not needed; None if it was not asked."""
    run_state: str | None = None
    """Its last word about the vCPUs."""

    process: Process | None = None
    """None if QEMU answers, and once it has ended."""
    look: Look | None = None
    """None if none was due, or none could be had."""

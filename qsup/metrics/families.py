"""The metrics: name, kind, labels, explanation, and where each has its values from. Declared once; all else is derived.

Names follow Prometheus' conventions: base units, ``_total`` for counters. Labels are bounded: ids out of guests' files,
the closed sets of causes, phases and kinds of events, and lists that stand here. Pure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from qsup.cause import FAILURES
from qsup.phase import Phase
from qsup.vitals.verdict import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qsup.metrics.readings import Cgroup, Disk, Guest, Nic, Process, Site

Sample = tuple[tuple[str, ...], Any]
"""The values of the labels, and the value: a number, for a state set the present state, for an info its labels."""


class Kind(StrEnum):
    """The types of OpenMetrics that are used."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    STATESET = "stateset"
    INFO = "info"


SUFFIXES: Final = {
    Kind.GAUGE: ("",),
    Kind.COUNTER: ("_total",),
    Kind.HISTOGRAM: ("_bucket", "_count", "_sum"),
    Kind.STATESET: ("",),
    Kind.INFO: ("_info",),
}
"""What a sample's name has after its family's."""
UNITS: Final = ("seconds", "bytes")
KVM_EXITS: Final = {
    "io": "io_exits",
    "mmio": "mmio_exits",
    "halt": "halt_exits",
    "irq": "irq_exits",
    "irq_window": "irq_window_exits",
    "nmi_window": "nmi_window_exits",
    "request_irq": "request_irq_exits",
    "signal": "signal_exits",
}
"""Reasons of exits that KVM counts one by one, and what it calls the counters."""
KVM_OTHERS: Final = {
    "exits": "exits",
    "irq_injections": "irq_injections",
    "nmi_injections": "nmi_injections",
    "hypercalls": "hypercalls",
}
KVM: Final = (*KVM_EXITS.values(), *KVM_OTHERS.values())
"""All that is asked for."""
MEMORY_EVENTS: Final = ("high", "max", "oom", "oom_kill")
"""Of a control group, see the kernel's cgroup-v2.rst."""
NS: Final = 1e-9


@dataclass(frozen=True)
class Family:
    """One metric."""

    name: str
    """Without the suffix of its samples."""
    kind: Kind
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Site], Iterable[Sample]]
    states: tuple[str, ...] = ()
    """Of a state set."""
    facts: tuple[str, ...] = ()
    """Labels that an info has as its value."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Those of its samples; a state set has one more, which is called like itself."""
        return (*self.labels, *((self.name,) if self.kind is Kind.STATESET else ()), *self.facts)

    @property
    def unit(self) -> str:
        """The unit that the name ends in."""
        return next((unit for unit in UNITS if self.name.endswith(f"_{unit}")), "")

    @property
    def shown(self) -> str:
        """The name that people look for."""
        return self.name if self.kind is Kind.HISTOGRAM else self.name + SUFFIXES[self.kind][0]


def _guest(
    name: str,
    kind: Kind,
    about: str,
    value: Callable[[Guest], Any],
    states: tuple[str, ...] = (),
    facts: tuple[str, ...] = (),
) -> Family:
    """A metric of which each guest has one value, or none."""

    def samples(site: Site) -> Iterator[Sample]:
        for guest in site.guests:
            if (found := value(guest)) is not None:
                yield (guest.name,), found

    return Family(f"qsup_guest_{name}".rstrip("_"), kind, about, ("guest",), samples, states, facts)


def _parts(
    name: str,
    kind: Kind,
    about: str,
    label: str,
    values: Callable[[Guest], Iterable[tuple[str, Any]]],
) -> Family:
    """A metric of which each guest has one value for each of its parts."""

    def samples(site: Site) -> Iterator[Sample]:
        for guest in site.guests:
            for part, found in values(guest):
                yield (guest.name, part), found

    return Family(f"qsup_guest_{name}", kind, about, ("guest", label), samples)


def _process(value: Callable[[Process], Any]) -> Callable[[Guest], Any]:
    return lambda guest: value(guest.process) if guest.process else None


def _cgroup(value: Callable[[Cgroup], Any]) -> Callable[[Guest], Any]:
    return _process(lambda process: value(process.cgroup) if process.cgroup else None)


def _disk(name: str, about: str, value: Callable[[Disk], float]) -> Family:
    def values(guest: Guest) -> Iterator[tuple[str, float]]:
        for disk, counters in guest.answers.disks.items() if guest.answers else ():
            yield disk, value(counters)

    return _parts(f"disk_{name}", Kind.COUNTER, about, "disk", values)


def _nic(name: str, about: str, value: Callable[[Nic], float]) -> Family:
    def values(guest: Guest) -> Iterator[tuple[str, float]]:
        for nic, counters in guest.process.nics.items() if guest.process else ():
            yield nic, value(counters)

    return _parts(f"nic_{name}", Kind.COUNTER, f"{about} `tap` and `bridge` NICs only.", "nic", values)


def _vcpu(name: str, about: str, attribute: str) -> Family:
    def values(guest: Guest) -> Iterator[tuple[str, float]]:
        for index, vcpu in guest.process.vcpus.items() if guest.process else ():
            yield str(index), getattr(vcpu, attribute)

    return _parts(f"vcpu_{name}", Kind.COUNTER, about, "vcpu", values)


def _by_cause(name: str, about: str, counter: str) -> Family:
    return Family(
        f"qsup_guest_{name}", Kind.COUNTER, about, ("guest", "cause"),
        lambda site: getattr(site.counters, counter).items(),
    )  # fmt: skip


def _modes(guest: Guest) -> Iterator[tuple[str, float]]:
    if guest.process is not None:
        for mode in ("user", "system"):
            yield mode, getattr(guest.process, mode)


def _exits(guest: Guest) -> Iterator[tuple[str, float]]:
    kvm = guest.answers.kvm if guest.answers else {}
    return ((reason, kvm[name]) for reason, name in KVM_EXITS.items() if name in kvm)


def _kvm(name: str, about: str, counter: str) -> Family:
    return _guest(
        f"kvm_{name}",
        Kind.COUNTER,
        about,
        lambda guest: guest.answers.kvm.get(counter) if guest.answers else None,
    )


def _memory_events(guest: Guest) -> Iterable[tuple[str, float]]:
    cgroup = guest.process.cgroup if guest.process else None
    return cgroup.events.items() if cgroup else ()


def _failures(site: Site) -> Iterator[Sample]:
    """Of every guest, also if there was none: the rate of what was not there before cannot be told."""
    causes = frozenset(map(str, FAILURES))
    counts = Counter({guest.name: 0 for guest in site.guests})
    for (guest, cause), count in site.counters.ends.items():
        counts[guest] += count * (cause in causes)
    return (((guest,), count) for guest, count in counts.items())


def _info(guest: Guest) -> dict[str, str]:
    return {"machine": guest.machine, "accel": guest.accel or "", "qemu": guest.qemu or ""}


LIFE: Final = (
    _guest("phase", Kind.STATESET, "The phase of the guest's life.",
           lambda guest: guest.phase.value, tuple(Phase)),
    _guest("ready", Kind.GAUGE, "Whether the guest is ready.", lambda guest: guest.ready),
    _guest("wanted", Kind.GAUGE, "Whether the guest is wanted running.", lambda guest: guest.wanted),
    _guest("maintenance", Kind.GAUGE, "Whether the guest is under maintenance.", lambda guest: guest.maintenance),
    _guest("condition", Kind.STATESET, "What is the matter with the guest's QEMU, or with the guest in it.",
           lambda guest: guest.condition and guest.condition.value, tuple(Condition)),
    _guest("recent_failures", Kind.GAUGE, "Failures that count at present, within `restart.window`.",
           lambda guest: guest.failures),
    _guest("recent_failures_limit", Kind.GAUGE,
           "Failures at which the guest is given up (`restart.limit`); 0 is never.", lambda guest: guest.limit),
    Family("qsup_guest_failures", Kind.COUNTER, "Runs of the guest that ended by a failure, all causes together.",
           ("guest",), _failures),
    _by_cause("ends", "Runs of the guest that ended, by cause.", "ends"),
    _by_cause("restarts", "Starts that followed the end of a run, by its cause.", "restarts"),
    _by_cause("troubles", "Times that something was wrong with the guest while it lived, by cause.", "troubles"),
    _guest("time_to_ready_seconds", Kind.GAUGE, "How long the guest took to be ready, after its start or last reset.",
           lambda guest: guest.ready_after),
    _guest("start_time_seconds", Kind.GAUGE, "When the guest's QEMU was started, in seconds since the epoch.",
           lambda guest: guest.started),
    _guest("", Kind.INFO, "What the guest runs on.", _info, facts=("machine", "accel", "qemu")),
)  # fmt: skip
WORK: Final = (
    _guest("qmp_up", Kind.GAUGE, "Whether the guest's QEMU has answered when it was asked for these figures.",
           lambda guest: None if guest.process is None else guest.answers is not None),
    _guest("qmp_latency_seconds", Kind.HISTOGRAM, "How long the guest's QEMU took to answer over QMP.",
           lambda guest: guest.latency),
    _parts("cpu_seconds", Kind.COUNTER, "CPU time of the guest's QEMU; `user` is with that of the guest.",
           "mode", _modes),
    _guest("kvm_cpu_seconds", Kind.COUNTER, "CPU time that KVM has spent in the guest, as the kernel accounts for it.",
           _process(lambda process: process.guest)),
    _vcpu("cpu_seconds", "CPU time of the thread of a vCPU; under TCG one thread may run them all.", "ran"),
    _vcpu("wait_seconds", "Time that the thread of a vCPU was ready to run and had no CPU of the host.", "waited"),
    _guest("memory_bytes", Kind.GAUGE, "Memory that the guest was given.", lambda guest: guest.memory),
    _guest("balloon_bytes", Kind.GAUGE, "Memory that its balloon leaves to the guest.",
           lambda guest: guest.answers.balloon if guest.answers else None),
    _guest("resident_memory_bytes", Kind.GAUGE, "Memory of the guest's QEMU that is in RAM.",
           _process(lambda process: process.resident)),
    _guest("cgroup_memory_bytes", Kind.GAUGE, "Memory of the guest's own control group, helpers included.",
           _cgroup(lambda cgroup: cgroup.memory)),
    _guest("cgroup_swap_bytes", Kind.GAUGE, "Swap of the guest's own control group.",
           _cgroup(lambda cgroup: cgroup.swap)),
    _parts("cgroup_memory_events", Kind.COUNTER,
           "Times that the memory of the guest's own control group met a limit (`memory.events`).",
           "event", _memory_events),
)  # fmt: skip
DISKS: Final = (
    _disk("read_bytes", "Bytes read.", lambda disk: disk.rd_bytes),
    _disk("reads_completed", "Reads.", lambda disk: disk.rd_operations),
    _disk("read_time_seconds", "Time that reads took.", lambda disk: disk.rd_total_time_ns * NS),
    _disk("reads_failed", "Reads that failed.", lambda disk: disk.failed_rd_operations),
    _disk("written_bytes", "Bytes written.", lambda disk: disk.wr_bytes),
    _disk("writes_completed", "Writes.", lambda disk: disk.wr_operations),
    _disk("write_time_seconds", "Time that writes took.", lambda disk: disk.wr_total_time_ns * NS),
    _disk("writes_failed", "Writes that failed.", lambda disk: disk.failed_wr_operations),
    _disk("flushes_completed", "Flushes.", lambda disk: disk.flush_operations),
    _disk("flush_time_seconds", "Time that flushes took.", lambda disk: disk.flush_total_time_ns * NS),
    _disk("flushes_failed", "Flushes that failed.", lambda disk: disk.failed_flush_operations),
    _disk("discarded_bytes", "Bytes discarded.", lambda disk: disk.unmap_bytes),
    _disk("discards_completed", "Discards.", lambda disk: disk.unmap_operations),
    _disk("discard_time_seconds", "Time that discards took.", lambda disk: disk.unmap_total_time_ns * NS),
    _disk("discards_failed", "Discards that failed.", lambda disk: disk.failed_unmap_operations),
)
NICS: Final = (
    _nic("receive_bytes", "Bytes that the guest was sent.", lambda nic: nic.receive_bytes),
    _nic("receive_packets", "Packets that the guest was sent.", lambda nic: nic.receive_packets),
    _nic("receive_drop", "Packets for the guest that were dropped.", lambda nic: nic.receive_drop),
    _nic("receive_errors", "Packets for the guest that failed.", lambda nic: nic.receive_errors),
    _nic("transmit_bytes", "Bytes that the guest has sent.", lambda nic: nic.transmit_bytes),
    _nic("transmit_packets", "Packets that the guest has sent.", lambda nic: nic.transmit_packets),
    _nic("transmit_drop", "Packets from the guest that were dropped.", lambda nic: nic.transmit_drop),
    _nic("transmit_errors", "Packets from the guest that failed.", lambda nic: nic.transmit_errors),
)
VIRTUALISATION: Final = (
    _kvm("exits", "Exits of the guest to KVM, all of them.", "exits"),
    _parts("kvm_exits_by_reason", Kind.COUNTER, "Exits of the guest to KVM, of those reasons that it counts.",
           "reason", _exits),
    _kvm("irq_injections", "Interrupts that KVM has given to the guest.", "irq_injections"),
    _kvm("nmi_injections", "NMIs that KVM has given to the guest.", "nmi_injections"),
    _kvm("hypercalls", "Calls of the guest to KVM.", "hypercalls"),
)  # fmt: skip
DAEMON: Final = (
    Family("qsup_build", Kind.INFO, "The daemon's version.", (),
           lambda site: [((), {"version": site.version, "python": site.python})], facts=("version", "python")),
    Family("qsup_config_problems", Kind.GAUGE, "Problems in the configuration as it was last read.", (),
           lambda site: [((), site.problems)]),
    Family("qsup_events", Kind.COUNTER, "Events that the daemon has announced, by kind.", ("event",),
           lambda site: (((event,), count) for event, count in site.counters.events.items())),
    Family("qsup_event_loop_lag_seconds", Kind.HISTOGRAM,
           "How long whatever came during one round of the daemon's event loop had to wait at most.", (),
           lambda site: [((), site.lag)]),
)  # fmt: skip
FAMILIES: Final = (*LIFE, *WORK, *DISKS, *NICS, *VIRTUALISATION, *DAEMON)
"""All of them, beside those of the daemon's process, which prometheus-client makes."""

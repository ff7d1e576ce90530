"""A site with figures of every kind, for the tests of what is made of them."""

from __future__ import annotations

from typing import Any

from qsup.histogram import Histogram
from qsup.metrics.families import KVM, MEMORY_EVENTS
from qsup.metrics.readings import Answers, Cgroup, Counters, Disk, Guest, Nic, Process, Site, Vcpu
from qsup.phase import Phase
from qsup.vitals.verdict import Condition


def latency(*values: float) -> Histogram:
    made = Histogram()
    for value in values:
        made.observe(value)
    return made


def process(**more: Any) -> Process:
    facts: dict[str, Any] = {
        "user": 1.5,
        "system": 0.5,
        "guest": 1.0,
        "resident": 50 << 20,
        "vcpus": {0: Vcpu(1.25, 0.5), 1: Vcpu(0.25, 0.0)},
        "nics": {"lan": Nic(1, 2, 3, 4, 5, 6, 7, 8)},
        "cgroup": Cgroup(memory=60 << 20, swap=0, events=dict.fromkeys(MEMORY_EVENTS, 1)),
    }
    return Process(**{**facts, **more})


def guest(name: str = "web1", **more: Any) -> Guest:
    facts: dict[str, Any] = {
        "name": name,
        "phase": Phase.RUNNING,
        "ready": True,
        "wanted": True,
        "maintenance": False,
        "failures": 1,
        "limit": 5,
        "ready_after": 1.5,
        "started": 1_700_000_000.0,
        "condition": Condition.WELL,
        "latency": latency(0.002, 0.002, 3.0).counted(),
        "memory": 1 << 30,
        "machine": "pc-q35-7.2",
        "accel": "kvm",
        "qemu": "7.2.22",
        "answers": Answers(
            vcpus={0: 11, 1: 12},
            disks={"root": Disk(rd_bytes=512, rd_operations=1, rd_total_time_ns=2_000_000)},
            kvm=dict.fromkeys(KVM, 7),
            balloon=1 << 29,
        ),
        "process": process(),
    }
    return Guest(**{**facts, **more})


def site(*guests: Guest, **more: Any) -> Site:
    facts: dict[str, Any] = {
        "version": "1.2.3",
        "python": "3.11.2",
        "problems": 0,
        "lag": latency(0.0005).counted(),
        "counters": Counters(
            {"GUEST_PHASE": 4},
            {("web1", "qemu-signal"): 2},
            {("web1", "qemu-signal"): 1},
            {("web1", "no-space"): 3},
        ),
        "guests": guests or (guest(),),
    }
    return Site(**{**facts, **more})

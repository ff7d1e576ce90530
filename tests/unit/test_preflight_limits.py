"""`[limits]` against a host that a test describes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.preflight import limits
from qsup.preflight.obstacle import Plan
from qsup.scope.ground import Ground, Way
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.disk import Disk
from qsup.spec.tables.limits import DiskLimits, Limits, NumaPolicy
from qsup.spec.tables.memory import Memory
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT

FACTS = HostFacts(binary="/usr/bin/qemu-system-x86_64", kvm=True)


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four CPUs, two NUMA nodes."""
    for what, there in {"cpu": "0-3", "node": "0-1"}.items():
        (tmp_path / what).mkdir()
        (tmp_path / what / "online").write_text(f"{there}\n")
    monkeypatch.setattr(limits, "SYSTEM", str(tmp_path))


def obstacles(wanted: Limits, ground: Ground | None = None, **tables: Any) -> list[tuple[str, bool]]:
    spec = GuestSpec(name="web1", limits=wanted, **tables)
    found = limits.obstacles(Plan(spec, FACTS, build(spec, FACTS, CONTEXT), ground=ground))
    return [(str(one), one.fatal) for one in found]


def test_a_guest_without_limits_has_nothing_in_its_way() -> None:
    assert obstacles(Limits(), Ground(Way.NONE, why="nothing")) == []


def test_a_limit_that_nothing_would_keep_is_refused() -> None:
    assert obstacles(Limits(tasks_max=99), Ground(Way.NONE, why="there is nothing")) == [
        ("limits.tasks-max: there is nothing", True)
    ]
    assert obstacles(Limits(tasks_max=99), Ground(Way.SYSTEMD, frozenset({"pids"}))) == []


def test_cpus_and_nodes_have_to_be_there() -> None:
    wanted = Limits(
        allowed_cpus="2-5", allowed_memory_nodes="0,7", numa_policy=NumaPolicy.BIND, numa_mask="1-2"
    )
    assert obstacles(wanted) == [
        ("limits.allowed-cpus: this host has no CPU 4-5; it has 0-3", True),
        ("limits.allowed-memory-nodes: this host has no NUMA node 7; it has 0-1", True),
        ("limits.numa-mask: this host has no NUMA node 2; it has 0-1", True),
    ]


def test_less_memory_than_guest_and_qemu_need_is_told_and_refused_only_if_it_is_wanted_at_once() -> None:
    size = Size.parse("1 GiB")
    told = "limits.memory-max: 1 GiB is not enough: the guest's 1 GiB and QEMU's own need about 1124 MiB; "
    assert obstacles(Limits(memory_max=size), memory=Memory(size=size)) == [
        (f"{told}the kernel ends QEMU when the guest uses all that it has", False)
    ]
    (half,) = obstacles(Limits(memory_max=Size.parse("512 MiB")), memory=Memory(size=size, prealloc=True))
    assert half[0].endswith("QEMU cannot start")
    assert half[1]
    (high,) = obstacles(Limits(memory_high=size), memory=Memory(size=size))
    assert "limits.memory-high: 1 GiB is little" in high[0]
    assert not high[1]
    assert obstacles(Limits(memory_max=Size.parse("1.25 GiB")), memory=Memory(size=size)) == []


def test_huge_pages_do_not_count() -> None:
    memory = Memory(size=Size.parse("1 GiB"), page_size=Size.parse("2 MiB"))
    assert obstacles(Limits(memory_max=Size.parse("256 MiB")), memory=memory) == []


def test_limits_of_disks_need_a_device_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def device_of(file: str) -> str:
        if file == "/btrfs/c":
            raise OSError(errno.ENODEV, "its file system does not lie on one block device", file)
        return "8:0"

    monkeypatch.setattr(limits, "device_of", lambda file: device_of(file))
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    disks = {
        name: Disk(file=HostPath(file)) for name, file in (("a", "/x/a"), ("b", "/x/b"), ("c", "/btrfs/c"))
    }
    wanted = Limits(disk=dict.fromkeys("abc", DiskLimits(read_iops_max=7)))
    assert obstacles(wanted, disk=disks) == [
        (
            "limits.disk.b: /x/b lies on the same device (8:0) as that of disk.a, and limits hold for a device; "
            "write them for one of the two",
            True,
        ),
        (
            "limits.disk.c: /btrfs/c: its file system does not lie on one block device; "
            "use [throttle] instead, which QEMU keeps",
            True,
        ),
    ]


def test_a_score_below_our_own_needs_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"/proc/self/oom_score_adj": "100", "/proc/self/status": "Name:\tqsupd\nCapEff:\t0000000000000000"}
    monkeypatch.setattr(limits, "read", lambda path: told.get(path, ""))
    assert obstacles(Limits(oom_score_adjust=100)) == []
    assert obstacles(Limits(oom_score_adjust=99)) == [
        (
            "limits.oom-score-adjust: 99 is less than this process's own 100, for which CAP_SYS_RESOURCE is missing",
            True,
        )
    ]
    told["/proc/self/status"] = "CapEff:\t0000000001000000"
    assert obstacles(Limits(oom_score_adjust=99)) == []

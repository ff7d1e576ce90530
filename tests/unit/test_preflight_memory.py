"""The guest's memory against a host that a test describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.preflight import memory
from qsup.preflight.obstacle import Plan
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.memory import Memory, MemoryBackend
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT

FACTS = HostFacts(binary="/usr/bin/qemu-system-x86_64", kvm=True)


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 GiB of RAM of which 2 are free, 1 of swap; 3 of 8 huge pages of 2 MiB promised to somebody."""
    (tmp_path / "meminfo").write_text(
        "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nSwapTotal: 1048576 kB\nHugePages_Total: 8\nodd\n"
    )
    pages = tmp_path / "hugepages-2048kB"
    pages.mkdir()
    for name, number in {"free": 8, "resv": 3, "nr_overcommit": 0, "surplus": 0}.items():
        (pages / f"{name}_hugepages").write_text(f"{number}\n")
    monkeypatch.setattr(memory, "MEMINFO", str(tmp_path / "meminfo"))
    monkeypatch.setattr(memory, "HUGE", str(tmp_path))


def obstacles(size: str, **keys: Any) -> list[tuple[str, bool]]:
    spec = GuestSpec(name="web1", memory=Memory(size=Size.parse(size), **keys))
    found = memory.obstacles(Plan(spec, FACTS, build(spec, FACTS, CONTEXT)))
    return [(str(one), one.fatal) for one in found]


def test_memory_that_is_there_is_no_obstacle() -> None:
    assert obstacles("2 GiB", prealloc=True, lock=True) == []


def test_more_than_is_available_is_told_and_no_more() -> None:
    told = "memory.size: 3 GiB is more than the 2 GiB of this host's RAM that are available now"
    assert obstacles("3 GiB", prealloc=True) == [(told, False)]


def test_more_than_there_is_stops_only_a_guest_that_wants_it_at_once() -> None:
    told = "memory.size: 6 GiB is more than this host has: 4 GiB of RAM, 1 GiB of swap"
    assert obstacles("6 GiB") == [(told, False)]
    assert obstacles("6 GiB", prealloc=True) == [(told, True)]


def test_locked_memory_cannot_be_in_swap() -> None:
    ((told, fatal),) = obstacles("4608 MiB", lock=True)
    assert told.endswith("4 GiB of RAM, 0 B of swap")
    assert fatal


def test_huge_pages_must_be_there() -> None:
    huge = {"backend": MemoryBackend.MEMFD, "page_size": Size.parse("2 MiB")}
    assert obstacles("10 MiB", **huge) == []
    ((told, fatal),) = obstacles("12 MiB", **huge)
    assert told.startswith(
        "memory.page-size: 6 pages of 2 MiB are needed and 5 are free; write a larger number"
    )
    assert fatal


def test_pages_of_a_size_that_the_host_lacks_are_told_with_those_it_has() -> None:
    huge = {"backend": MemoryBackend.MEMFD, "page_size": Size.parse("1 GiB")}
    assert obstacles("1 GiB", **huge) == [
        ("memory.page-size: this host has no pages of 1 GiB; it has: 2 MiB", True)
    ]


def test_a_directory_for_memory_must_be_there(tmp_path: Path) -> None:
    lost = {"backend": MemoryBackend.FILE, "path": HostPath(tmp_path / "nothing")}
    assert obstacles("1 GiB", **lost) == [
        (f"memory.path: {tmp_path}/nothing: No such file or directory", True)
    ]
    assert obstacles("1 MiB", backend=MemoryBackend.FILE, path=HostPath(tmp_path)) == []
    ((told, _),) = obstacles("4000 TiB", backend=MemoryBackend.FILE, path=HostPath(tmp_path))
    assert told.endswith("free, and the guest's memory is 4096000 GiB")


def test_a_host_that_tells_nothing_is_not_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", "/nonexistent")
    assert obstacles("6 GiB", prealloc=True) == []

"""What the tables of the machine itself say against each other: vCPUs, NUMA nodes, memory, the boot menu."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.spec.base import HostPath, Section
from qsup.spec.check import wrong
from qsup.spec.model import GuestSpec
from qsup.spec.numbers import MOST_NUMBER, numbers, spelled
from qsup.spec.sharing import unshared
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.cpu import Cpu, Topology
from qsup.spec.tables.iothread import IoThread
from qsup.spec.tables.machine import Firmware, Iommu, Machine
from qsup.spec.tables.memory import Memory, MemoryBackend
from qsup.spec.tables.numa import HostPolicy, Numa
from qsup.spec.topology import numa
from qsup.units import Duration, Size


def mib(number: int) -> Size:
    return Size(number << 20)


@given(st.frozensets(st.integers(0, MOST_NUMBER), min_size=1, max_size=40))
def test_a_set_of_numbers_reads_back_as_it_was_spelled(values: frozenset[int]) -> None:
    assert numbers(spelled(values)) == values


@pytest.mark.parametrize(("text", "why"), [("3-1", "runs backwards; write"), ("9000", "out of range")])
def test_a_text_that_names_no_numbers_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        numbers(text)


@pytest.mark.parametrize(
    ("cpu", "made"),
    [
        (Cpu(), (1, 1, 1, 1)),
        (Cpu(count=6), (1, 1, 6, 1)),
        (Cpu(count=8, threads=2), (1, 1, 4, 2)),
        (Cpu(count=8, cores=2), (4, 1, 2, 1)),
        (Cpu(count=2, max=8, sockets=2, dies=2), (2, 2, 2, 1)),
        (Cpu(count=8, sockets=2, cores=2, threads=2), (2, 1, 2, 2)),
    ],
)
def test_what_is_not_said_of_a_topology_follows_from_the_rest(cpu: Cpu, made: tuple[int, ...]) -> None:
    assert cpu.topology() == Topology(*made)
    assert not list(cpu.wrong())


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        (Cpu(count=4, max=2), "max", "2 is less than count, 4"),
        (Cpu(count=6, threads=4), "count", "6 vCPUs cannot be made of 4"),
        (Cpu(count=2, max=6, sockets=2, cores=1), "max", "2 x 1 x 1 x 1 sockets"),
        (Cpu(count=4, pin=("0", "1")), "pin", "2 entries for 4 vCPUs"),
        (Cpu(pin=("5-2",)), "pin.0", "runs backwards"),
        (Cpu(emulator_pin="5-2"), "emulator-pin", "runs backwards"),
        (Machine(type="pc", firmware=Firmware.UEFI_SECURE_BOOT), "firmware", "is for q35"),
        (Machine(nvram_template=HostPath("/v")), "nvram-template", 'is for firmware = "uefi"'),
        (
            Machine(firmware=Firmware.UEFI, nvram_template=HostPath("/v")),
            "nvram-template",
            "needs firmware-code",
        ),
        (Machine(type="pc", iommu=Iommu.INTEL), "iommu", '"intel" is for q35'),
        (Machine(type="microvm", iommu=Iommu.VIRTIO), "iommu", "a microvm has no IOMMU"),
        (IoThread(pin="5-2"), "pin", "runs backwards"),
        (Memory(slots=2), "slots", "is for `max`"),
        (Memory(max=mib(2048)), "slots", "is missing"),
        (Memory(max=mib(512), slots=1), "max", "512 MiB is not more than size, 1 GiB"),
        (Memory(max=Size(mib(2048) + 1), slots=1), "max", "is not a whole number of MiB"),
        (Memory(backend=MemoryBackend.FILE), "path", "is missing"),
        (Memory(path=HostPath("/p")), "path", 'belongs to backend = "file"'),
        (Memory(page_size=mib(2), backend=MemoryBackend.RAM), "page-size", 'belongs to backend = "memfd"'),
        (Memory(page_size=mib(3)), "page-size", "3 MiB is no size of a page"),
        (Memory(size=mib(5), page_size=mib(2)), "size", "is not a whole number of pages"),
        (Numa(memory=mib(1), host_nodes="0"), "host-nodes", "needs a policy"),
        (Numa(memory=mib(1), policy=HostPolicy.BIND), "host-nodes", "is missing"),
        (Numa(host_nodes="0", policy=HostPolicy.BIND), "host-nodes", "is for `memory`"),
        (Numa(cpus="2-1"), "cpus", "runs backwards"),
        (Numa(memory=Size(5)), "memory", "whole number of MiB"),
        (Boot(menu_timeout=Duration.parse("5 s")), "menu-timeout", "needs menu = true"),
        (Boot(menu=True, menu_timeout=Duration.parse("2 min")), "menu-timeout", "out of range"),
    ],
    ids=repr,
)
def test_keys_that_do_not_go_together_are_told(section: Section, key: str, words: str) -> None:
    (((*path,), message),) = wrong(section)
    assert ".".join(map(str, path)) == key
    assert words in message


def noded(**tables: Any) -> GuestSpec:
    return GuestSpec(name="g", cpu=Cpu(count=4), memory=Memory(size=mib(4), page_size=mib(2)), **tables)


def test_nodes_that_make_up_the_machine_are_right() -> None:
    half = mib(2)
    assert not list(numa(noded()))
    nodes = {
        "a": Numa(cpus="0-1", memory=half, distance={"b": 15, "a": 10}),
        "b": Numa(cpus="2-3", memory=half),
    }
    assert not list(numa(noded(numa=nodes)))


@pytest.mark.parametrize(
    ("nodes", "path", "words"),
    [
        ({"a": Numa(cpus="0-4", memory=mib(4))}, "numa.a.cpus", "there is no vCPU 4; they go from 0 to 3"),
        ({"a": Numa(cpus="0-2", memory=mib(4))}, "numa", "vCPU 3 is in no node"),
        (
            {"a": Numa(cpus="0-3", memory=mib(4)), "b": Numa(cpus="3")},
            "numa.b.cpus",
            "vCPU 3 is in numa.a already",
        ),
        (
            {"a": Numa(cpus="0-3", memory=mib(2))},
            "numa",
            "the nodes have 2 MiB of memory, and memory.size is 4 MiB",
        ),
        (
            {"a": Numa(cpus="0-3", memory=mib(3)), "b": Numa(memory=mib(1))},
            "numa.a.memory",
            "not a whole number of pages",
        ),
        (
            {"node": Numa(cpus="0-3", memory=mib(4), distance={"nodes": 20})},
            "numa.node.distance.nodes",
            'did you mean "node"?',
        ),
        (
            {"a": Numa(cpus="0-3", memory=mib(4), distance={"a": 20})},
            "numa.a.distance.a",
            "distance to itself",
        ),
    ],
)
def test_nodes_that_do_not_are_told(nodes: dict[str, Numa], path: str, words: str) -> None:
    found = list(numa(noded(numa=nodes)))
    assert (path, True) in [(".".join(map(str, where)), words in message) for where, message in found]


def test_there_are_no_more_nodes_than_qemu_knows() -> None:
    assert "129 nodes" in next(numa(noded(numa={f"n{index}": Numa() for index in range(129)})))[1]


def test_memory_that_nobody_shares_may_be_anything() -> None:
    assert not list(unshared(GuestSpec(name="g", memory=Memory(share=False, backend=MemoryBackend.RAM))))

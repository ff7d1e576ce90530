"""Which threads of a QEMU go to which CPUs, out of what QEMU says of them."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from qsup.argv.facts import HostFacts
from qsup.argv.invocation import Invocation
from qsup.errors import QmpError
from qsup.guest.pinning import is_pinned, placement
from qsup.preflight import places
from qsup.preflight.obstacle import Plan
from qsup.proc import affinity
from qsup.spec.model import GuestSpec
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.iothread import IoThread
from qsup.spec.tables.numa import HostPolicy, Numa
from tests.unit.argv_guests import guest

VCPUS: list[dict[str, object]] = [
    {"cpu-index": 0, "thread-id": 10, "qom-path": "/a", "target": "x86_64"},
    {"cpu-index": 1, "thread-id": 11},
]
IOTHREADS: list[dict[str, object]] = [{"id": "iothread-a", "thread-id": 20, "poll-max-ns": 1}]
THREADS = {9, 10, 11, 20, 30}


def cpus(*values: int) -> frozenset[int]:
    return frozenset(values)


def test_each_vcpu_has_its_own_cpus_and_one_entry_is_for_all() -> None:
    own = placement(guest(cpu=Cpu(count=2, pin=("0", "2-3"))), VCPUS, IOTHREADS, THREADS)
    assert own.named == {10: cpus(0), 11: cpus(2, 3)}
    both = placement(guest(cpu=Cpu(count=2, pin=("0,5",))), VCPUS, IOTHREADS, THREADS)
    assert both.named == {10: cpus(0, 5), 11: cpus(0, 5)}
    assert (own.others, both.others) == ({}, {})


def test_a_thread_that_runs_several_vcpus_may_run_where_each_of_them_may() -> None:
    one_thread = [{**vcpu, "thread-id": 10} for vcpu in VCPUS]
    spec = guest(cpu=Cpu(count=2, pin=("0", "1")))
    assert placement(spec, one_thread, [], THREADS).named == {10: cpus(0, 1)}


def test_the_emulator_is_all_that_is_neither_vcpu_nor_io_thread() -> None:
    found = placement(guest(cpu=Cpu(count=2, emulator_pin="7")), VCPUS, IOTHREADS, THREADS)
    assert (found.named, found.others) == ({}, {9: cpus(7), 30: cpus(7)})


def test_an_io_thread_is_known_by_the_id_of_its_object() -> None:
    spec = guest(iothread={"a": IoThread(pin="4"), "b": IoThread(pin="5"), "c": IoThread()})
    assert is_pinned(spec)
    assert placement(spec, VCPUS, IOTHREADS, THREADS).named == {20: cpus(4)}


@pytest.mark.parametrize("answer", [None, {}, [1], [{"cpu-index": "0", "thread-id": 1}], [{"cpu-index": 0}]])
def test_what_is_no_answer_is_refused(answer: Any) -> None:
    with pytest.raises(QmpError, match="does not tell its threads"):
        placement(guest(cpu=Cpu(pin=("0",))), answer, [], THREADS)


def test_only_a_guest_that_asks_for_it_is_pinned() -> None:
    assert not is_pinned(guest(iothread={"a": IoThread()}))
    assert is_pinned(guest(cpu=Cpu(pin=("0",))))
    assert is_pinned(guest(cpu=Cpu(emulator_pin="0")))


def test_only_a_thread_of_the_process_is_bound() -> None:
    all_cpus = os.sched_getaffinity(0)
    one = {min(all_cpus)}
    ready, done = threading.Event(), threading.Event()
    found: list[set[int]] = []

    def work() -> None:
        ready.set()
        done.wait()
        found.append(os.sched_getaffinity(0))

    worker = threading.Thread(target=work)
    worker.start()
    ready.wait()
    assert worker.native_id is not None
    try:
        assert worker.native_id in affinity.threads(os.getpid())
        affinity.bind(os.getpid(), worker.native_id, one)
        with pytest.raises(ProcessLookupError):
            affinity.bind(os.getppid(), worker.native_id, one)
    finally:
        done.set()
        worker.join()
    assert found == [one]
    assert os.sched_getaffinity(0) == all_cpus


def told(spec: GuestSpec) -> list[str]:
    plan = Plan(spec, HostFacts("/q", kvm=True), Invocation("/q", (), (), "kvm", "q35"))
    return [str(obstacle) for obstacle in places.obstacles(plan)]


def test_cpus_and_nodes_that_the_host_lacks_are_told() -> None:
    node = Numa(host_nodes="1000", policy=HostPolicy.BIND)
    found = told(
        guest(
            cpu=Cpu(pin=("0,8000-8001",), emulator_pin="8100"),
            numa={"a": node},
            iothread={"io": IoThread(pin="8150")},
        )
    )
    assert [sentence.partition(";")[0] for sentence in found] == [
        "cpu.pin[0]: this host has no CPU 8000-8001",
        "cpu.emulator-pin: this host has no CPU 8100",
        "iothread.io.pin: this host has no CPU 8150",
        "numa.a.host-nodes: this host has no NUMA node 1000",
    ]
    assert told(guest(cpu=Cpu(pin=("0",), emulator_pin="0"))) == []

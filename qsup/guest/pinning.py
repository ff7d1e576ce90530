"""Which thread of a QEMU may run on which CPUs of the host. Pure.

QEMU tells which of its threads are vCPUs and I/O threads. It is not trusted: what it names as a thread is only a
number here, and whoever acts on it checks that it is one of the process's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from qsup.argv.iothread import thread_id
from qsup.errors import QmpError
from qsup.spec.numbers import numbers

if TYPE_CHECKING:
    from collections.abc import Collection

    from qsup.spec.model import GuestSpec

QUESTIONS: Final = ("query-cpus-fast", "query-iothreads")
"""The QMP commands whose answers a plan is made from."""


class _Vcpu(msgspec.Struct, rename="kebab"):
    cpu_index: int
    thread_id: int


class _IoThread(msgspec.Struct, rename="kebab"):
    id: str
    thread_id: int


class Placement(msgspec.Struct, frozen=True):
    """Threads by their ids, each with the CPUs that it is to run on."""

    named: dict[int, frozenset[int]]
    """Those that QEMU has named: each must be there."""
    others: dict[int, frozenset[int]]
    """The rest, some of which may end at any moment."""


def is_pinned(spec: GuestSpec) -> bool:
    """Whether any thread has CPUs of its own."""
    threads = any(thread.pin is not None for thread in spec.iothread.values())
    return bool(spec.cpu.pin) or spec.cpu.emulator_pin is not None or threads


def placement(spec: GuestSpec, vcpus: object, iothreads: object, threads: Collection[int]) -> Placement:
    """Where to put the threads, given QEMU's answers and all threads that the kernel knows of it.

    Raises QmpError if an answer is not what it should be.
    """
    try:
        known_vcpus = msgspec.convert(vcpus, list[_Vcpu])
        known_iothreads = msgspec.convert(iothreads, list[_IoThread])
    except msgspec.ValidationError as error:
        raise QmpError(f"it does not tell its threads: {error}") from error
    named: dict[int, frozenset[int]] = {}
    for vcpu in known_vcpus:
        if (cpus := _vcpu_pin(spec, vcpu.cpu_index)) is not None:
            # One thread may run several vCPUs, under TCG.
            named[vcpu.thread_id] = named.get(vcpu.thread_id, frozenset()) | cpus
    pins = {thread_id(name): thread.pin for name, thread in spec.iothread.items()}
    for iothread in known_iothreads:
        if (pin := pins.get(iothread.id)) is not None:
            named[iothread.thread_id] = numbers(pin)
    others: dict[int, frozenset[int]] = {}
    if spec.cpu.emulator_pin is not None:
        workers = {vcpu.thread_id for vcpu in known_vcpus} | {one.thread_id for one in known_iothreads}
        others = dict.fromkeys(set(threads) - workers, numbers(spec.cpu.emulator_pin))
    return Placement(named, others)


def _vcpu_pin(spec: GuestSpec, index: int) -> frozenset[int] | None:
    pin = spec.cpu.pin
    if len(pin) == 1:
        return numbers(pin[0])
    return numbers(pin[index]) if 0 <= index < len(pin) else None

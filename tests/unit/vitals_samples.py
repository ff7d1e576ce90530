"""Samples as a watch would take them, for tests of what they add up to."""

from __future__ import annotations

from typing import Any, Final

from qsup.spec.tables.hang import Hang
from qsup.units import Duration
from qsup.vitals.course import Course
from qsup.vitals.sample import Look, Process, Sample, Thread, Vcpu, Work
from qsup.vitals.verdict import Condition

TIMEOUT: Final = 100.0
HANG: Final = Hang(qemu_timeout=Duration(TIMEOUT), guest_timeout=Duration(TIMEOUT))
STEP: Final = TIMEOUT / 10
CLOSER: Final = TIMEOUT / 20
NO_REQUESTS: Final = Work(disk=0)


def thread(state: str = "S", tid: int = 1, **more: Any) -> Thread:
    return Thread(**{"tid": tid, "name": "qemu", "state": state, "ran": 0.0, **more})


def process(*threads: Thread, at: float = 0.0, **more: Any) -> Process:
    return Process(at=at, threads=threads or (thread(),), **more)


def answered(at: float, **more: Any) -> Sample:
    """QEMU has answered at once."""
    return Sample(**{"at": at, "heard": at, "latency": 0.001, "run_state": "running", **more})


def silent(at: float, since: float, heard: float | None, **more: Any) -> Sample:
    """QEMU has not answered what it was asked."""
    seen = {"process": process(at=at), "urgent": False, "run_state": "running", **more}
    return Sample(at=at, heard=heard, silent_since=since, **seen)


def vcpu(*, interrupts: bool = False, halted: bool = True, index: int = 0, **more: Any) -> Vcpu:
    own = more.pop("thread", None) or thread("S" if halted else "R", tid=100 + index)
    return Vcpu(index=index, thread=own, interrupts=interrupts, halted=halted, address=0x7C00, **more)


def look(at: float, *vcpus: Vcpu, work: Work = NO_REQUESTS, **more: Any) -> Look:
    """A look into a guest, one that rests with interrupts off unless told otherwise."""
    return Look(at=at, vcpus=vcpus or (vcpu(),), work=work, **more)


def lively(at: float, **more: Any) -> Sample:
    """A sample of a guest that takes interrupts."""
    return answered(at, look=look(at, vcpu(interrupts=True), work=Work()), **more)


def still(at: float, **more: Any) -> Sample:
    """A sample of a guest that does not."""
    return answered(at, **{"look": look(at), **more})


def told(samples: list[Sample], hang: Hang = HANG) -> list[tuple[float, Condition]]:
    """The condition as it changes, each with the time."""
    course, changes = Course(), [(0.0, Condition.WELL)]
    for sample in samples:
        course = course.after(sample, hang)
        condition = course.verdict(hang).condition
        if condition is not changes[-1][1]:
            changes.append((sample.at, condition))
    return changes[1:]


def course_of(samples: list[Sample], hang: Hang = HANG) -> Course:
    """What the samples add up to."""
    course = Course()
    for sample in samples:
        course = course.after(sample, hang)
    return course

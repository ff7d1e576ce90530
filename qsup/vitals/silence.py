"""A QEMU that does not answer: for how long, and whether it is stopped, held up by the host, or hung. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from qsup.vitals.sample import RUNNABLE, STOPPED, TRACED, UNINTERRUPTIBLE, Process
from qsup.vitals.verdict import EARLIER, WELL, Condition, Verdict, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.vitals.sample import Sample, Thread

KEPT: Final = 20
"""Looks at the process that are remembered; as many are taken during a timeout."""
STANDSTILL: Final = 0.9
"""Of the time between two looks: if all on the host stood still for so much of it, QEMU is no exception."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which QEMU has answered nothing."""

    began: float
    process: Process | None
    """At the last look."""
    heard: float | None = None
    """When QEMU had last answered."""
    stalls: tuple[str, ...] = ()
    """For each pair of looks how the host has held it up meanwhile; empty if it has not."""
    urgent: bool | None = None
    """Whether it has answered out of band at any time since."""
    session: bool = True
    greets: bool = False
    resumed: bool = False
    """Whether it began as the process, which had been stopped, was let go on."""

    def verdict(self, now: float) -> Verdict:
        """What the matter is, after too long a time of it."""
        condition = self._condition()
        if condition is Condition.WELL:
            return WELL
        return Verdict(condition, self.began, tuple(self._evidence(condition, now)))

    def _condition(self) -> Condition:
        if self.process is None:
            # It has ended; whoever waits for that is being told so.
            return Condition.WELL
        match self.process.main.state:
            case "T":
                return Condition.QEMU_STOPPED
            case "t":
                return Condition.QEMU_TRACED
            case "Z" | "X":
                return Condition.WELL
        if self._stalled():
            return Condition.HOST_STALLED
        return Condition.QEMU_HUNG if self.session or self.greets else Condition.QMP_LOST

    def _stalled(self) -> bool:
        """Whether the host held it up for half of the time or more, or has its cgroup frozen now."""
        frozen = self.process is not None and self.process.frozen
        return frozen or 2 * sum(map(bool, self.stalls)) >= max(1, len(self.stalls))

    def _evidence(self, condition: Condition, now: float) -> Iterator[str]:
        match condition:
            case Condition.QEMU_STOPPED:
                yield f"a signal has stopped its process (state {STOPPED}); SIGCONT lets it go on"
            case Condition.QEMU_TRACED:
                yield f"a debugger has stopped its process (state {TRACED})"
            case Condition.HOST_STALLED:
                yield from self._stall()
            case Condition.QEMU_HUNG:
                yield from self._loop()
            case Condition.QMP_LOST:
                yield "its process lives, and no QMP session to it can be had"
            case Condition.WELL | Condition.GUEST_HUNG:
                return
            case _:
                assert_never(condition)
        if self.session:
            yield f"it has not answered query-status for {seconds(now - self.began)}"
        else:
            yield f"there has been no QMP session to it for {seconds(now - self.began)}"

    def _stall(self) -> Iterator[str]:
        if self.process is not None and self.process.frozen:
            yield "its cgroup is frozen"
        found = [stall for stall in self.stalls if stall]
        if found:
            yield f"{found[-1]} (the host held it up at {len(found)} of the last {len(self.stalls)} looks)"

    def _loop(self) -> Iterator[str]:
        if self.greets:
            yield "its main loop is held up: its monitor greets, and answers nothing"
        elif self.urgent:
            yield "its main loop is held up: its monitor answers out of band"
        else:
            yield "neither its main loop nor, out of band, its monitor answers"
        main = self.process.main if self.process else None
        if main is not None and main.waits_in:
            yield f"its main thread waits in the kernel ({main.waits_in})"
        elif main is not None:
            yield f"its main thread is in state {main.state}"


def followed(
    silence: Silence | None, sample: Sample, timeout: float, *, anew: bool = False
) -> Silence | None:
    """The silence after one more sample; None if there is none. ``anew``: what was before does not count."""
    if sample.silent_since is None:
        return None
    # As long as a process is stopped it cannot answer, and only from then on it can be blamed for it.
    resumed = silence is not None and _is_stopped(silence.process) and not _is_stopped(sample.process)
    # An answer may have come and the next question be open already: that is another silence.
    if silence is None or anew or resumed or silence.heard != sample.heard:
        return Silence(
            began=sample.at if anew or resumed else _began(sample, timeout),
            process=sample.process,
            heard=sample.heard,
            urgent=sample.urgent,
            session=sample.session,
            greets=sample.greets,
            resumed=resumed,
        )
    stalls = silence.stalls
    if sample.process is not None and silence.process is not None:
        stalls = (*stalls, _stall(silence.process, sample.process))[-KEPT:]
    return Silence(
        began=silence.began,
        process=sample.process,
        heard=silence.heard,
        stalls=stalls,
        urgent=silence.urgent if sample.urgent is None else sample.urgent,
        session=sample.session,
        greets=sample.greets,
        resumed=silence.resumed,
    )


def _is_stopped(process: Process | None) -> bool:
    return process is not None and process.main.state in (STOPPED, TRACED)


def _began(sample: Sample, timeout: float) -> float:
    """It fell silent at some time between its last answer and the question that it did not answer any more."""
    asked = sample.at if sample.silent_since is None else sample.silent_since
    if sample.heard is None:
        return asked
    return asked - min(max(0.0, asked - sample.heard) / 2, timeout * EARLIER)


def _stall(before: Process, now: Process) -> str:
    """How the host has held up the process from one look to the next; empty if it has not."""
    if before.frozen and now.frozen:
        return "its cgroup is frozen"
    threads = {thread.tid: thread for thread in before.threads}
    for thread in now.threads:
        earlier = threads.get(thread.tid)
        if earlier is not None and (what := _held_up(earlier, thread, main=thread is now.main)):
            return what
    return _pressed(before, now)


def _held_up(before: Thread, now: Thread, *, main: bool) -> str:
    """A thread that has not run at all in between, because it waits for storage or memory, or for a CPU."""
    if not now.has_not_run_since(before):
        return ""
    if before.state == now.state == UNINTERRUPTIBLE:
        where = f", in {now.waits_in}" if now.waits_in else ""
        return f"its thread {now.tid} ({now.name}) waits for the host's storage or memory (state D{where})"
    if main and before.state == now.state == RUNNABLE:
        return "its main thread is ready to run and the host gives it no CPU"
    return ""


def _pressed(before: Process, now: Process) -> str:
    if before.pressure is None or now.pressure is None or now.at <= before.at:
        return ""
    for resource in ("io", "memory"):
        stood = getattr(now.pressure, resource) - getattr(before.pressure, resource)
        if stood / (now.at - before.at) >= STANDSTILL:
            return f"all on this host waits for {'storage' if resource == 'io' else 'memory'}"
    return ""

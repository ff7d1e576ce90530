"""Gathers the figures of all guests, when somebody wants them.

Who asks more often than once a second is told the same again.
"""

from __future__ import annotations

import asyncio
import platform
from typing import TYPE_CHECKING, Final, Protocol

from qsup import __version__, clock
from qsup.guest.policy import within_window
from qsup.metrics.ask import Asker
from qsup.metrics.kernel import Kernel
from qsup.metrics.readings import Guest, Site
from qsup.phase import Wanted
from qsup.vitals.kernel import Kernel as Threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from qsup.guest.measured import Measured
    from qsup.histogram import Histogram
    from qsup.metrics.counts import Counts
    from qsup.metrics.readings import Answers, Process
    from qsup.spec.load import Configuration

FRESH: Final = 1.0
"""Seconds for which figures are good enough for whoever asks next."""


class Guests(Protocol):
    """Whose figures these are; :class:`qsup.supervisor.Supervisor` is one."""

    def measured(self) -> Sequence[Measured]:
        """All guests, in the order of their names."""

    def configuration(self) -> Configuration:
        """The configuration as it was last read."""


class Gatherer:
    """Gathers in ``thread`` what the kernel tells, as that is much to read."""

    def __init__(self, guests: Guests, counts: Counts, lag: Histogram, thread: Executor) -> None:
        self._guests = guests
        self._counts = counts
        self._lag = lag
        self._thread = thread
        self._asker = Asker(Threads())
        self._kernel = Kernel()
        self._one = asyncio.Lock()
        self._last: tuple[float, Site] | None = None

    async def site(self) -> Site:
        """All figures, at most a second old."""
        async with self._one:
            if self._last is None or clock.now() - self._last[0] > FRESH:
                self._last = clock.now(), await self._gathered()
            return self._last[1]

    async def close(self) -> None:
        """Wait for nothing any more."""
        await self._asker.close()

    async def _gathered(self) -> Site:
        measured = self._guests.measured()
        answers = await self._asker.ask(measured)
        loop = asyncio.get_running_loop()
        processes = await loop.run_in_executor(self._thread, self._processes, measured, answers)
        now, wall = clock.now(), clock.wall()
        names = [one.spec.name for one in measured]
        return Site(
            version=__version__,
            python=platform.python_version(),
            problems=len(self._guests.configuration().problems),
            lag=self._lag.counted(),
            counters=self._counts.counters(names),
            guests=tuple(
                _guest(one, answers.get(name), processes.get(name), now, wall)
                for name, one in zip(names, measured, strict=True)
            ),
        )

    def _processes(self, measured: Sequence[Measured], answers: Mapping[str, Answers]) -> dict[str, Process]:
        """What the kernel tells of each QEMU that is there."""
        devices, own = self._kernel.devices(), self._kernel.own_cgroup()
        found = {}
        alive = [(one, one.identity, one.launched) for one in measured]
        for one, identity, spec in alive:
            if identity is not None and spec is not None:
                told = answers.get(one.spec.name)
                threads = told.vcpus if told else {}
                process = self._kernel.process(identity, spec, threads, devices, own)
                if process is not None:
                    found[one.spec.name] = process
        self._kernel.forget({identity for _, identity, _ in alive if identity is not None})
        return found


def _guest(one: Measured, answers: Answers | None, process: Process | None, now: float, wall: float) -> Guest:
    state = one.state
    launch = state.launch
    spec = one.launched or one.spec
    return Guest(
        name=one.spec.name,
        phase=state.phase,
        ready=state.ready,
        wanted=state.wanted is Wanted.RUNNING,
        maintenance=state.maintenance is not None and now < state.maintenance,
        failures=len(within_window(state.failures, one.spec.restart, now)),
        limit=one.spec.restart.limit,
        ready_after=launch.ready_after if launch else None,
        started=wall - now + one.identity.started if one.identity else None,
        condition=one.condition,
        latency=one.latency,
        memory=int(spec.memory.size),
        machine=one.machine or spec.machine.type,
        accel=launch.accel if launch else None,
        qemu=one.session.version if one.session else None,
        answers=answers,
        process=process,
    )

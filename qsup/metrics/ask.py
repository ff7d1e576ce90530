"""Asks QEMUs for their figures: each as long as it takes, none twice at a time, and who is slow holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from typing import TYPE_CHECKING, Any, Final

from qsup.errors import QmpError, QmpRefused
from qsup.metrics import answers
from qsup.metrics.readings import Answers
from qsup.vitals.look import SLEEPING
from qsup.vitals.sample import RUNNABLE
from qsup.vitals.verdict import Condition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.guest.measured import Measured
    from qsup.spec.model import GuestSpec
    from qsup.vitals.kernel import Kernel
    from qsup.vitals.look import Session

AT_ONCE: Final = 32
"""QEMUs that are asked at one moment."""
TURN: Final = 0.1
"""Seconds after which others are asked beside those that have not answered."""
PATIENCE: Final = 1.0
"""Seconds for those that are left in the end; each answers within milliseconds."""
ENDLESS: Final = math.inf
"""Seconds. A question that is given up is none the less executed, so it is waited for as long as the session lasts."""
SILENT: Final = frozenset(Condition) - {Condition.WELL, Condition.GUEST_HUNG}
"""Conditions in which QEMU answers nothing."""
KVM: Final = "kvm"

Task = asyncio.Task[Answers | None]


class Asker:
    """Keeps what was asked and is not answered yet, by guest."""

    def __init__(self, threads: Kernel) -> None:
        self._threads = threads
        self._open: dict[str, tuple[Session, Task]] = {}

    async def ask(self, guests: Iterable[Measured]) -> dict[str, Answers]:
        """The answers of those that have answered in time."""
        running = [one for one in guests if one.session is not None and one.launched is not None]
        self._give_up({one.spec.name: one.session for one in running})
        asked: list[tuple[str, Task]] = []
        due = iter(running)
        while batch := [(one.spec.name, self._task(one)) for one in itertools.islice(due, AT_ONCE)]:
            asked += [(name, task) for name, task in batch if task is not None]
            await _wait((task for _, task in batch if task is not None), TURN)
        await _wait((task for _, task in asked), PATIENCE)
        found = {name: task.result() for name, task in asked if task.done() and not task.cancelled()}
        for name in found:
            del self._open[name]
        return {name: answer for name, answer in found.items() if answer is not None}

    async def close(self) -> None:
        """Wait for no answer any more."""
        tasks = [task for _, task in self._open.values()]
        self._give_up({})
        await asyncio.gather(*tasks, return_exceptions=True)

    def _give_up(self, sessions: dict[str, Session | None]) -> None:
        """Forget what was asked in sessions that are no more."""
        for name, (session, task) in tuple(self._open.items()):
            if sessions.get(name) is not session:
                task.cancel()
                del self._open[name]

    def _task(self, one: Measured) -> Task | None:
        """What is open to this guest, or a new question, if there is any sense in that."""
        name = one.spec.name
        if name in self._open and self._open[name][1].done():
            # It came too late for those who had asked, and is old by now.
            del self._open[name]
        if name not in self._open:
            if one.condition in SILENT or one.session is None or one.launched is None:
                return None
            kvm = one.state.launch is not None and one.state.launch.accel == KVM
            pid = one.state.pid if kvm else None
            task = asyncio.create_task(_answers(one.session, one.launched, self._threads, pid))
            self._open[name] = one.session, task
        return self._open[name][1]


async def _wait(tasks: Iterable[Task], patience: float) -> None:
    if waiting := [task for task in tasks if not task.done()]:
        await asyncio.wait(waiting, timeout=patience)


async def _answers(session: Session, spec: GuestSpec, threads: Kernel, kvm: int | None) -> Answers | None:
    """What a QEMU tells; ``kvm`` is its pid if it uses KVM. None if it does not tell."""

    async def asked(command: str, arguments: dict[str, Any] | None = None) -> Any:
        return await session.execute(command, arguments, deadline=ENDLESS)

    try:
        vcpus = answers.vcpus(await asked("query-cpus-fast"), spec.cpu.most)
        disks = answers.disks(await asked("query-blockstats"), frozenset(spec.disk))
        counters: dict[str, int] = {}
        balloon = None
        with contextlib.suppress(QmpRefused):
            if spec.balloon.enabled:
                balloon = answers.balloon(await asked("query-balloon"))
        with contextlib.suppress(QmpRefused):
            # Each vCPU would have to answer for itself, and QEMU's main loop would wait for one that cannot.
            if kvm is not None and all(_can_answer(threads, kvm, tid) for tid in vcpus.values()):
                counters = answers.kvm(await asked("query-stats", answers.COUNTERS))
    except QmpError:
        return None
    return Answers(vcpus=vcpus, disks=disks, kvm=counters, balloon=balloon)


def _can_answer(threads: Kernel, pid: int, tid: int) -> bool:
    thread = threads.thread(pid, tid)
    return thread is not None and thread.state in (RUNNABLE, SLEEPING)

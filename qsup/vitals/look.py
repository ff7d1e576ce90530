"""A look into a guest, through its QEMU's monitor and past it: what its vCPUs do, and what it has done lately.

A healthy guest costs one question: its first vCPU takes interrupts, and that is that. The rest is asked only if no
vCPU does. Questions go out one at a time, and none before the last is answered, however long that takes: QEMU would
keep them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from qsup import clock
from qsup.errors import QmpError, QmpRefused
from qsup.spec.tables.nic import NicType
from qsup.vitals import answers
from qsup.vitals.sample import RUNNABLE, Look, Vcpu, Work

if TYPE_CHECKING:
    from qsup.spec.model import GuestSpec
    from qsup.vitals.kernel import Kernel

PATIENCE: Final = math.inf
"""Seconds. A question that is given up is none the less executed, so it is waited for as long as the session lasts."""
UNKNOWN: Final = "CommandNotFound"
SLEEPING: Final = "S"
COUNTERS: Final = {
    "target": "vcpu",
    "providers": [{"provider": "kvm", "names": list(answers.SERVED)}],
}
"""The arguments of ``query-stats``, which QEMU has since 7.1."""


class Session(Protocol):
    """What is needed of a QMP session; :class:`qsup.qmp.session.QmpSession` is one."""

    async def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        deadline: float | None = None,
        oob: bool = False,
    ) -> Any:
        """Execute a command and return its answer. Raises QmpError."""


class Looker:
    """Looks into one guest over one session."""

    def __init__(self, session: Session, kernel: Kernel, spec: GuestSpec, pid: int) -> None:
        self.blind = rests_unseen(spec)
        """Whether nothing can be seen in there, so that there is no need to look."""
        self._session = session
        self._kernel = kernel
        self._taps = taps(spec)
        self._pid = pid
        self._vcpus: list[tuple[int, int]] = []

    async def look(self) -> Look | None:
        """A look; None if QEMU tells nothing of use, or the session ends meanwhile."""
        try:
            return await self._look()
        except QmpRefused as refusal:
            # A QEMU without these commands will not learn them; but a vCPU may just have been unplugged.
            self.blind = refusal.qmp_class == UNKNOWN
            self._vcpus = []
        except QmpError:
            pass
        return None

    async def _look(self) -> Look | None:
        if not self._vcpus:
            self._vcpus = answers.vcpu_threads(await self._ask("query-cpus-fast"))
        seen: list[Vcpu] = []
        for index, tid in self._vcpus:
            thread = self._kernel.thread(self._pid, tid)
            if thread is None:
                self._vcpus = []
                return None
            if thread.state not in (RUNNABLE, SLEEPING):
                # Its vCPU would have to answer for itself, and QEMU's main loop would wait for that.
                return Look(at=clock.now(), vcpus=tuple(seen), stuck=thread)
            registers = answers.registers(await self._ask(*_registers(index)))
            if registers is None:
                return None
            seen.append(
                Vcpu(
                    index=index, thread=thread,
                    interrupts=registers.interrupts, halted=registers.halted, address=registers.address,
                )
            )  # fmt: skip
            if registers.interrupts:
                return Look(at=clock.now(), vcpus=tuple(seen))
        # There may be vCPUs by now that were plugged in later.
        self._vcpus = []
        return Look(at=clock.now(), vcpus=tuple(seen), work=await self._work()) if seen else None

    async def _work(self) -> Work:
        """What the guest has done. A counter that is not there is no reason not to read the others."""
        return Work(
            disk=answers.disk_requests(await self._ask("query-blockstats")),
            sent=self._kernel.sent(self._taps),
            served=answers.served(await self._known("query-stats", COUNTERS)),
        )

    async def _known(self, command: str, arguments: dict[str, Any]) -> Any:
        """The answer to a command that this QEMU may not have; None if it refuses it."""
        try:
            return await self._ask(command, arguments)
        except QmpRefused:
            return None

    async def _ask(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        return await self._session.execute(command, arguments, deadline=PATIENCE)


def _registers(index: int) -> tuple[str, dict[str, Any]]:
    """What asks for the registers of a vCPU: no command of QMP's own does."""
    return "human-monitor-command", {"command-line": "info registers", "cpu-index": index}


def taps(spec: GuestSpec) -> tuple[str, ...]:
    """The tap interfaces of a guest whose names are known."""
    return tuple(
        nic.interface for nic in spec.nic.values() if nic.type is NicType.TAP and nic.interface is not None
    )


def rests_unseen(spec: GuestSpec) -> bool:
    """Whether the guest rests without telling the host: with interrupts off, in MWAIT, at full use of its CPUs."""
    return any("cpu-pm" in argument for argument in spec.qemu.args)

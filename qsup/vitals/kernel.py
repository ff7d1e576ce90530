"""What the kernel tells of a QEMU that does not answer, of its threads, and of the host.

Only files are read that the kernel fills in without a lock of the process's memory: ``cmdline`` and its like may
never return for a process that waits for dead storage, and would take the reader along.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from qsup.vitals.sample import UNINTERRUPTIBLE, Pressure, Process, Thread

if TYPE_CHECKING:
    from collections.abc import Collection

    from qsup.proc.identity import Identity

THREAD_LIMIT: Final = 1024
"""Threads that are looked at; a QEMU has a few beside those of its vCPUs."""
TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
SIZE: Final = 4096
"""Bytes of a file that are read."""


class Kernel:
    """A reader of two of the kernel's file systems."""

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc = proc
        self._sys = sys

    def process(self, identity: Identity, now: float) -> Process | None:
        """A process with all its threads; None if it is gone."""
        pid = identity.pid
        directory = f"{self._proc}/{pid}"
        try:
            if stat_fields(read(f"{directory}/stat"))[19] != b"%d" % identity.start_time:
                return None
            tids = sorted(map(int, os.listdir(f"{directory}/task")), key=lambda tid: (tid != pid, tid))
        except (OSError, IndexError):
            return None
        threads = tuple(
            thread for tid in tids[:THREAD_LIMIT] if (thread := self.thread(pid, tid, closely=True))
        )
        if not threads or threads[0].tid != pid:
            return None
        return Process(at=now, threads=threads, frozen=self._frozen(directory), pressure=self._pressure())

    def thread(self, pid: int, tid: int, *, closely: bool = False) -> Thread | None:
        """A thread of a process; None if it has none such. ``closely`` reads what takes longer as well."""
        directory = f"{self._proc}/{pid}/task/{tid}"
        try:
            stat = read(f"{directory}/stat")
            fields = stat_fields(stat)
            state, ran = fields[0].decode(), (int(fields[11]) + int(fields[12])) * TICK
        except (OSError, IndexError, ValueError):
            return None
        name = stat.partition(b"(")[2].rpartition(b")")[0].decode(errors="replace")
        thread = Thread(tid=tid, name=name, state=state, ran=ran)
        return self._closely(directory, thread, main=pid == tid) if closely else thread

    def _closely(self, directory: str, thread: Thread, *, main: bool) -> Thread:
        turns, waits_in = 0, ""
        with contextlib.suppress(OSError, IndexError, ValueError):
            turns = int(read(f"{directory}/schedstat").split()[2])
        if main or thread.state == UNINTERRUPTIBLE:
            # Not told to those who may not trace the process; 0 is a thread that does not wait.
            with contextlib.suppress(OSError):
                waits_in = read(f"{directory}/wchan").decode(errors="replace")
        return Thread(
            tid=thread.tid, name=thread.name, state=thread.state, ran=thread.ran,
            turns=turns, waits_in="" if waits_in == "0" else waits_in,
        )  # fmt: skip

    def sent(self, interfaces: Collection[str]) -> int | None:
        """Bytes that have come out of tap interfaces, which is what guests have sent; None without any."""
        counts = []
        for name in interfaces:
            with contextlib.suppress(OSError, ValueError):
                counts.append(int(read(f"{self._sys}/class/net/{name}/statistics/rx_bytes")))
        return sum(counts) if counts else None

    def _frozen(self, directory: str) -> bool:
        """Whether the process's cgroup is frozen; with version 1 its threads are in state D instead."""
        with contextlib.suppress(OSError):
            for line in read(f"{directory}/cgroup").splitlines():
                if line.startswith(b"0::"):
                    return self._is_frozen(os.fsdecode(line[3:]))
        return False

    def _is_frozen(self, cgroup: str) -> bool:
        for root in ("", "/unified"):
            with contextlib.suppress(OSError):
                return b"frozen 1" in read(f"{self._sys}/fs/cgroup{root}{cgroup}/cgroup.events").splitlines()
        return False

    def _pressure(self) -> Pressure | None:
        try:
            return Pressure(self._full("io"), self._full("memory"))
        except (OSError, ValueError, IndexError):
            return None

    def _full(self, resource: str) -> float:
        """Seconds, out of ``full avg10=0.00 avg60=0.00 avg300=0.00 total=0``."""
        text = read(f"{self._proc}/pressure/{resource}").partition(b"full ")[2]
        return int(text.partition(b"total=")[2].split()[0]) / 1e6


def read(path: str) -> bytes:
    """The beginning of a file of the kernel's; raise OSError. Plainly, as this is done often."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, SIZE)
    finally:
        os.close(fd)


def stat_fields(stat: bytes) -> list[bytes]:
    """The fields of a ``stat`` from the third, the state, on; the name before may hold anything."""
    return stat.rpartition(b")")[2].split()

"""A directory that tells of processes, interfaces and the host what a test wants told, where the kernel would."""

from __future__ import annotations

from pathlib import Path

from qsup.proc.identity import Identity
from qsup.vitals.kernel import TICK, Kernel

IDENTITY = Identity(77, 1234, "boot", "token")


class FakeKernel:
    """``kernel`` reads what the other methods have written."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        self.kernel = Kernel(str(self.proc), str(self.sys))

    def thread(
        self,
        tid: int,
        state: str = "S",
        *,
        ran: float = 0.0,
        turns: int = 0,
        name: str = "qemu",
        wchan: str = "0",
    ) -> None:
        """A thread of the process; the one with the process's pid is the main thread."""
        ticks = round(ran / TICK)
        before = [state, *("0",) * 10, str(ticks), "0", *("0",) * 6]
        stat = f"{tid} ({name}) {' '.join(before)} {IDENTITY.start_time} 0 0\n"
        self._write(f"{IDENTITY.pid}/task/{tid}/stat", stat)
        self._write(f"{IDENTITY.pid}/task/{tid}/schedstat", f"1 2 {turns}\n")
        self._write(f"{IDENTITY.pid}/task/{tid}/wchan", wchan)
        if tid == IDENTITY.pid:
            self._write(f"{tid}/stat", stat)

    def pressure(self, io: float = 0.0, memory: float = 0.0) -> None:
        """Seconds in which all stood still."""
        for name, value in (("io", io), ("memory", memory)):
            some = "some avg10=1.00 avg60=1.00 avg300=1.00 total=999999999"
            full = f"full avg10=0.00 avg60=0.00 avg300=0.00 total={round(value * 1e6)}"
            self._write(f"pressure/{name}", f"{some}\n{full}\n")

    def cgroup(self, path: str, *, frozen: bool, mount: str = "") -> None:
        """The cgroup of the process; ``mount`` is where version 2 is mounted below ``/sys/fs/cgroup``."""
        self._write(f"{IDENTITY.pid}/cgroup", f"6:freezer:/\n0::{path}\n")
        events = self.sys / f"fs/cgroup{mount}{path}/cgroup.events"
        events.parent.mkdir(parents=True, exist_ok=True)
        events.write_text(f"populated 1\nfrozen {int(frozen)}\n")

    def sent(self, interface: str, count: int) -> None:
        """What has come out of a tap interface."""
        path = self.sys / f"class/net/{interface}/statistics/rx_bytes"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{count}\n")

    def _write(self, name: str, text: str) -> None:
        path = self.proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

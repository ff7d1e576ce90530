"""What the kernel tells of QEMUs that work: their time, their memory, their interfaces, their control groups."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from qsup.metrics.families import MEMORY_EVENTS
from qsup.metrics.readings import Cgroup, Nic, Process, Vcpu
from qsup.proc import cgroup
from qsup.spec.tables.nic import NicType
from qsup.vitals.kernel import TICK, read, stat_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.proc.identity import Identity
    from qsup.spec.model import GuestSpec

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
NS: Final = 1e-9
DEVICES_LIMIT: Final = 4 << 20
"""Bytes of the table of network devices; each has some 120."""
FDS_LIMIT: Final = 4096
_COLUMNS: Final = 16


class Kernel:
    """A reader of the kernel's file systems; ``devices`` is read once for all guests of a moment."""

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc = proc
        self._sys = sys
        self._bridged: dict[Identity, dict[str, str]] = {}

    def devices(self) -> dict[str, tuple[int, ...]]:
        """The counters of all network devices in this namespace, as they stand in ``/proc/net/dev``."""
        found = {}
        with contextlib.suppress(OSError):
            # Through the thread: what it sees is its own namespace's.
            with open(f"{self._proc}/thread-self/net/dev", "rb") as file:
                lines = file.read(DEVICES_LIMIT).splitlines()
            for line in lines[2:]:
                name, _, rest = line.decode(errors="replace").rpartition(":")
                columns = rest.split()
                if len(columns) >= _COLUMNS and all(map(str.isdecimal, columns)):
                    found[name.strip()] = tuple(map(int, columns))
        return found

    def own_cgroup(self) -> str | None:
        """The control group of this daemon: a guest that is in it as well has none of its own."""
        return cgroup.directory_of(os.getpid())

    def process(
        self,
        identity: Identity,
        spec: GuestSpec,
        threads: Mapping[int, int],
        devices: Mapping[str, tuple[int, ...]],
        own_cgroup: str | None,
    ) -> Process | None:
        """The figures of a QEMU; None if it is gone. ``threads`` are those of its vCPUs, by their indices."""
        try:
            fields = stat_fields(read(f"{self._proc}/{identity.pid}/stat"))
            if int(fields[19]) != identity.start_time:
                return None
            user, system, guest = (int(fields[index]) * TICK for index in (11, 12, 40))
            resident = int(fields[21]) * PAGE
        except (OSError, IndexError, ValueError):
            return None
        vcpus = {index: self._vcpu(identity.pid, tid) for index, tid in threads.items()}
        return Process(
            user=user,
            system=system,
            guest=guest,
            resident=resident,
            vcpus={index: vcpu for index, vcpu in vcpus.items() if vcpu is not None},
            nics=self._nics(identity, spec, devices),
            cgroup=_cgroup(identity.pid, own_cgroup),
        )

    def forget(self, others: set[Identity]) -> None:
        """Keep nothing of processes but these."""
        for identity in self._bridged.keys() - others:
            del self._bridged[identity]

    def _vcpu(self, pid: int, tid: int) -> Vcpu | None:
        directory = f"{self._proc}/{pid}/task/{tid}"
        with contextlib.suppress(OSError, IndexError, ValueError):
            ran, waited = (int(field) * NS for field in read(f"{directory}/schedstat").split()[:2])
            return Vcpu(ran, waited)
        return None

    # Networks

    def _nics(
        self, identity: Identity, spec: GuestSpec, devices: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Nic]:
        taps = {name: nic.interface for name, nic in spec.nic.items() if nic.type is NicType.TAP}
        bridges = {
            name: nic.bridge for name, nic in spec.nic.items() if nic.type is NicType.BRIDGE and nic.bridge
        }
        if bridges:
            if identity not in self._bridged:
                self._bridged[identity] = self._taps_of(identity.pid, {*taps.values()})
            taps |= {name: self._bridged[identity].get(bridge) for name, bridge in bridges.items()}
        return {name: _nic(devices[tap]) for name, tap in taps.items() if tap is not None and tap in devices}

    def _taps_of(self, pid: int, known: set[str | None]) -> dict[str, str]:
        """The taps that QEMU's bridge helper has made, by their bridges; two in one bridge cannot be told apart."""
        found: dict[str, list[str]] = {}
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"{self._proc}/{pid}/fdinfo")[:FDS_LIMIT]:
                tap = self._tap(f"{self._proc}/{pid}/fdinfo/{fd}")
                if tap and tap not in known and (bridge := self._bridge(tap)):
                    found.setdefault(bridge, []).append(tap)
        return {bridge: taps[0] for bridge, taps in found.items() if len(taps) == 1}

    def _tap(self, fdinfo: str) -> str:
        with contextlib.suppress(OSError):
            for line in read(fdinfo).splitlines():
                if line.startswith(b"iff:"):
                    return line[4:].strip().decode(errors="replace")
        return ""

    def _bridge(self, tap: str) -> str:
        try:
            return os.path.basename(os.readlink(f"{self._sys}/class/net/{tap}/master"))
        except OSError:
            return ""


def _nic(columns: tuple[int, ...]) -> Nic:
    """The counters of a tap, turned round: what it has received the guest has sent."""
    sent, received = columns[0:4], columns[8:12]
    return Nic(
        receive_bytes=received[0],
        receive_packets=received[1],
        receive_errors=received[2],
        receive_drop=received[3],
        transmit_bytes=sent[0],
        transmit_packets=sent[1],
        transmit_errors=sent[2],
        transmit_drop=sent[3],
    )


def _cgroup(pid: int, own: str | None) -> Cgroup | None:
    directory = cgroup.directory_of(pid)
    if directory is None or directory == own:
        return None
    events = cgroup.events(directory, "memory.events")
    return Cgroup(
        memory=_number(f"{directory}/memory.current"),
        swap=_number(f"{directory}/memory.swap.current"),
        events={name: count for name, count in events.items() if name in MEMORY_EVENTS},
    )


def _number(path: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(read(path))
    return None

"""What every section of the command line looks at: the spec, and what has been decided for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

from qsup.argv.board import Board
from qsup.argv.helper import socket_file
from qsup.argv.invocation import AGENT_FILE, KVM, QMP_FD, QMP_FILE, Device, Listener, Tap
from qsup.argv.quote import pairs
from qsup.errors import SpecError
from qsup.spec.tables.machine import Accel
from qsup.spec.tables.nic import NicType
from qsup.spec.tables.share import ShareType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.argv.facts import HostFacts
    from qsup.argv.invocation import LaunchContext
    from qsup.spec.model import GuestSpec


@dataclass(frozen=True, slots=True)
class Draft:
    """An invocation in the making. Sections read it and yield options; nothing changes it."""

    spec: GuestSpec
    facts: HostFacts
    context: LaunchContext
    machine: str
    """The machine type: the one that the guest keeps, or the file's."""
    board: Board
    accel: Accel
    """Never ``auto``."""
    listeners: tuple[Listener, ...]
    boot_index: Mapping[str, int]
    """From a device's id (``disk-root``) to its place in the boot order, from 1."""

    @classmethod
    def of(cls, spec: GuestSpec, facts: HostFacts, context: LaunchContext) -> Draft:
        """Decide what concerns several sections."""
        accel = spec.machine.accel
        if accel is Accel.AUTO:
            accel = Accel.KVM if facts.kvm else Accel.TCG
        machine = context.machine or spec.machine.type
        return cls(spec, facts, context, machine, Board.of(machine), accel, listeners(spec), boot_order(spec))

    def socket(self, chardev: str, file: str) -> str:
        """The value of ``-chardev`` for a socket that the supervisor listens on.

        ``wait=off``: QEMU does not wait for a client, and without one what the guest writes is dropped.
        """
        return pairs("socket", id=chardev, fd=self.listening(file), server=True, wait=False)

    def listening(self, file: str) -> int:
        """The fd of a socket that the supervisor listens on."""
        return next(listener.fd for listener in self.listeners if listener.file == file)

    def connected(self, helper: str) -> str:
        """The value of ``-chardev`` for the connection to a helper; both have the helper's name."""
        return pairs("socket", id=helper, fd=self.connections[helper])

    @property
    def taps(self) -> dict[str, Tap]:
        """From a NIC's name to the tap that QEMU inherits for it; they follow the helpers' connections."""
        first = count(QMP_FD + len(self.listeners) + len(connected(self.spec)))
        return {
            name: Tap(tuple(islice(first, nic.queues)), nic.interface, nic.bridge, nic.helper)
            for name, nic in self.spec.nic.items()
            if nic.type in (NicType.TAP, NicType.BRIDGE)
        }

    @property
    def devices(self) -> tuple[Device, ...]:
        """What QEMU inherits of the host's devices; they follow the taps."""
        if self.accel is not Accel.KVM or not self.facts.takes_kvm:
            return ()
        taken = len(self.listeners) + len(self.connections) + sum(len(tap.fds) for tap in self.taps.values())
        return (Device(QMP_FD + taken, KVM),)

    @property
    def connections(self) -> dict[str, int]:
        """From a helper's name to the fd at which QEMU inherits a connection to it; they follow the listeners'."""
        first = QMP_FD + len(self.listeners)
        return {name: first + index for index, name in enumerate(connected(self.spec))}


def listeners(spec: GuestSpec) -> tuple[Listener, ...]:
    """The sockets of a guest: QMP, serial ports in the file's order, agent, networks; fds without gaps."""
    files = [
        QMP_FILE,
        *(serial_file(port) for port in spec.serial),
        *([AGENT_FILE] if spec.agent.enabled else []),
        *(socket_file(f"net-{name}") for name, nic in spec.nic.items() if nic.type is NicType.PASST),
    ]
    return tuple(Listener(QMP_FD + index, file) for index, file in enumerate(files))


def connected(spec: GuestSpec) -> list[str]:
    """The helpers that QEMU is connected to from its start."""
    shares = (f"share-{name}" for name, share in spec.share.items() if share.type is ShareType.VIRTIOFS)
    return [*(["tpm"] if spec.tpm.enabled else []), *shares]


def serial_file(port: str) -> str:
    """The name of a serial port's socket in the run directory."""
    return f"serial-{port}.sock"


def boot_order(spec: GuestSpec) -> dict[str, int]:
    """Which device is tried when. Raises SpecError for an id that names none, or more than one."""
    families: dict[str, Mapping[str, object]] = {"disk": spec.disk, "cdrom": spec.cdrom, "nic": spec.nic}
    order: dict[str, int] = {}
    for index, wanted in enumerate(spec.boot.order, 1):
        found = [f"{family}-{wanted}" for family, devices in families.items() if wanted in devices]
        if len(found) != 1:
            what = "several devices have" if found else "no disk, cdrom or nic has"
            raise SpecError(f'boot.order: {what} the id "{wanted}"')
        if found[0] in order:
            raise SpecError(f'boot.order: "{wanted}" stands in it twice')
        order[found[0]] = index
    return order

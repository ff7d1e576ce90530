"""What disks, CD-ROM drives and other tables of one guest say against each other. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.spec.boards import BoardKind
from qsup.spec.problem import nearest
from qsup.spec.tables.disk import CdromBus, DiskBus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qsup.spec.base import Finding
    from qsup.spec.model import GuestSpec


def storage(spec: GuestSpec) -> Iterator[Finding]:
    """Buses that the machine lacks, throttles and I/O threads that are not declared, SCSI disks that differ."""
    for name, disk in spec.disk.items():
        if trouble := bus_trouble(spec.machine.type, disk.bus):
            yield ("disk", name, "bus"), trouble
        yield from _missing(name, "throttle", disk.throttle, spec.throttle)
        yield from _missing(name, "iothread", disk.iothread, spec.iothread)
    for name, cdrom in spec.cdrom.items():
        if cdrom.bus is not None and (trouble := bus_trouble(spec.machine.type, cdrom.bus)):
            yield ("cdrom", name, "bus"), trouble
    seed = spec.cloud_init.bus if spec.cloud_init is not None else None
    if seed is not None and (trouble := bus_trouble(spec.machine.type, seed)):
        yield ("cloud-init", "bus"), trouble
    yield from one_controller(spec)


def bus_trouble(machine: str, bus: DiskBus | CdromBus) -> str | None:
    """Why a machine of this type has no such bus, and what to write; None if it has it."""
    match BoardKind.of(machine):
        case BoardKind.Q35 if bus == DiskBus.IDE:
            return f'machine type "{machine}" has no IDE; write bus = "sata"'
        case BoardKind.MICROVM if bus not in (DiskBus.VIRTIO_BLK, DiskBus.VIRTIO_SCSI):
            return f'a microvm has no "{bus}"; write bus = "virtio-scsi", or machine type q35'
        case _:
            return None


def one_controller(spec: GuestSpec) -> Iterator[Finding]:
    """All SCSI disks sit on one controller, whose queues and I/O thread serve them all."""
    disks = {name: disk for name, disk in spec.disk.items() if disk.bus is DiskBus.VIRTIO_SCSI}
    for key in ("iothread", "queues"):
        said = {name: getattr(disk, key) for name, disk in disks.items() if getattr(disk, key) is not None}
        first = next(iter(said.items()), None)
        for name, value in said.items():
            if first is not None and value != first[1]:
                yield (
                    ("disk", name, key),
                    f'all disks on bus = "virtio-scsi" share one controller, and disk.{first[0]}.{key} is {first[1]}',
                )


def _missing(name: str, key: str, wanted: str | None, there: Collection[str]) -> Iterator[Finding]:
    if wanted is not None and wanted not in there:
        yield ("disk", name, key), f"there is no [{key}.{wanted}]{nearest(wanted, there)}"

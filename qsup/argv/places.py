"""Where drives sit: each disk and CD-ROM drive takes the next place on its bus, disks first."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

from qsup.argv import usb
from qsup.argv.board import BRIDGE_SLOTS_DISK, SLOTS_DISK, Board, slot
from qsup.errors import SpecError
from qsup.spec.storage import bus_trouble
from qsup.spec.tables.disk import CdromBus, DiskBus

if TYPE_CHECKING:
    from qsup.argv.draft import Draft
    from qsup.spec.model import GuestSpec

SCSI: Final = "scsi"
"""The one virtio-scsi controller, which all SCSI drives share."""
SATA: Final = "sata"
"""The SATA controller that a pc gets; q35 has its own, under QEMU's name for it."""
OWN_BUS: Final = {Board.Q35: CdromBus.SATA, Board.PC: CdromBus.IDE, Board.MICROVM: CdromBus.VIRTIO_SCSI}
"""Where a CD-ROM drive sits that does not say."""


def drive_buses(spec: GuestSpec) -> dict[str, DiskBus | CdromBus]:
    """The bus of every drive, by the id of its device."""
    own = OWN_BUS[Board.of(spec.machine.type)]
    buses: dict[str, DiskBus | CdromBus] = {f"disk-{name}": disk.bus for name, disk in spec.disk.items()}
    buses |= {f"cdrom-{name}": cdrom.bus or own for name, cdrom in spec.cdrom.items()}
    if spec.cloud_init is not None:
        buses[usb.SEED] = spec.cloud_init.bus or own
    return buses


class Places:
    """Gives each drive the next place on its bus. Raises SpecError for a bus that is full, or is not there."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._pci, self._scsi, self._sata, self._ide = count(), count(), count(), count()
        self._buses = drive_buses(draft.spec)
        self._given = {user: self._next(user, bus) for user, bus in self._buses.items()}

    def __getitem__(self, user: str) -> dict[str, object]:
        """The driver of this drive and its place."""
        return self._given[user]

    def bus(self, user: str) -> DiskBus | CdromBus:
        """The bus of this drive."""
        return self._buses[user]

    def _next(self, user: str, bus: DiskBus | CdromBus) -> dict[str, object]:
        board = self._draft.board
        if trouble := bus_trouble(self._draft.spec.machine.type, bus):
            raise SpecError(f"{user}: {trouble}")
        is_disk = isinstance(bus, DiskBus)
        kind = "hd" if is_disk else "cd"
        match DiskBus(bus):
            case DiskBus.VIRTIO_BLK if board is Board.MICROVM:
                return board.virtio("blk", 0)
            case DiskBus.VIRTIO_BLK:
                return self._on_pci("virtio-blk-pci")
            case DiskBus.NVME:
                return self._on_pci("nvme")
            case DiskBus.VIRTIO_SCSI:
                place = {"bus": f"{SCSI}.0", "scsi-id": next(self._scsi), "lun": 0}
                return {"driver": f"scsi-{kind}", **place}
            case DiskBus.SATA:
                return {"driver": f"ide-{kind}", **board.sata(SATA, next(self._sata))}
            case DiskBus.IDE:
                return {"driver": f"ide-{kind}", **board.ide(next(self._ide))}
            case DiskBus.USB if is_disk:
                return {"driver": "usb-storage", **usb.port(self._draft.spec, user)}
            case DiskBus.USB:
                return {"driver": "scsi-cd", "bus": f"bot-{user}.0", "lun": 0}

    def _on_pci(self, driver: str) -> dict[str, object]:
        """The first disks have slots of their own, the others stand behind the bridge."""
        slots = [*SLOTS_DISK, *BRIDGE_SLOTS_DISK]
        index = next(self._pci)
        at = slot("virtio-blk and nvme disks", slots, index)
        board = self._draft.board
        return board.pci(driver, at) if index < len(SLOTS_DISK) else board.behind(driver, at)

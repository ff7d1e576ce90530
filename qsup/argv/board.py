"""What the machine type means for devices: the buses that there are, and who sits where on them.

Slots on the PCI bus are given out by family, not in the order of the command line as QEMU would: another disk
must not move a NIC, by whose slot the guest names it (``enp0s8``). Slots 0, 1 and 0x1f belong to the chipsets.
What a guest has rarely, or many of, sits behind a bridge, which is there only when something is.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from qsup.errors import SpecError
from qsup.spec.boards import BoardKind

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOT_VIDEO: Final = 0x2
SLOT_USB: Final = 0x3
SLOT_SCSI: Final = 0x4
SLOT_VIRTIO_SERIAL: Final = 0x5
SLOT_RNG: Final = 0x6
SLOT_BALLOON: Final = 0x7
SLOTS_NIC: Final = range(0x8, 0x10)
SLOTS_DISK: Final = range(0x10, 0x18)
SLOT_SOUND: Final = 0x18
SLOT_WATCHDOG: Final = 0x19
SLOT_VSOCK: Final = 0x1A
SLOT_SATA: Final = 0x1B
SLOT_BRIDGE: Final = 0x1C
SLOT_ROOT_PORTS: Final = 0x1D
SLOT_IOMMU: Final = 0x1E

BRIDGE: Final = "bridge"
"""The id of the bridge."""
BRIDGE_SLOTS_INPUT: Final = range(0x1, 0x5)
BRIDGE_SLOTS_SERIAL: Final = range(0x5, 0x8)
BRIDGE_SLOTS_SHARE: Final = range(0x8, 0x10)
BRIDGE_SLOTS_DISK: Final = range(0x10, 0x1F)
BRIDGE_SLOT_PANIC: Final = 0x1F
"""Slots behind the bridge: disks beyond those that have a slot of their own, and what is listed here."""

SATA_PORTS: Final = 6
IDE_DRIVES: Final = 4


class Board(Enum):
    """The kinds of machine that differ in how devices are attached."""

    Q35 = "q35"
    PC = "pc"
    MICROVM = "microvm"

    @classmethod
    def of(cls, machine_type: str) -> Board:
        """The kind of a machine type, versioned (``pc-q35-7.2``) or not; what has another name counts as a ``pc``."""
        return cls(BoardKind.of(machine_type).value)

    def virtio(self, kind: str, slot: int) -> dict[str, object]:
        """The driver of a virtio device and its place; on a microvm each has a virtio-mmio transport of its own."""
        if self is Board.MICROVM:
            return {"driver": f"virtio-{kind}-device"}
        return self.pci(f"virtio-{kind}-pci", slot)

    def pci(self, driver: str, slot: int) -> dict[str, object]:
        """The driver of a PCI device and its place. Raises SpecError where there is no PCI."""
        if self is Board.MICROVM:
            raise SpecError(
                f"a microvm has no PCI bus for {driver}: use a virtio device, or machine type q35"
            )
        return {"driver": driver, "bus": "pcie.0" if self is Board.Q35 else "pci.0", "addr": hex(slot)}

    def behind(self, driver: str, slot: int) -> dict[str, object]:
        """The driver of a PCI device and its place behind the bridge. Raises SpecError where there is no PCI."""
        return {**self.pci(driver, slot), "bus": BRIDGE}

    def sata(self, controller: str, index: int) -> dict[str, object]:
        """The place of the ``index``-th SATA drive: on q35's own controller, or on an added one with this id."""
        return {"bus": f"{'ide' if self is Board.Q35 else controller}.{_port(index, SATA_PORTS, 'SATA')}"}

    def ide(self, index: int) -> dict[str, object]:
        """The place of the ``index``-th IDE drive of a pc: two channels of two drives."""
        place = _port(index, IDE_DRIVES, "IDE")
        return {"bus": f"ide.{place // 2}", "unit": place % 2}


def _port(index: int, most: int, bus: str) -> int:
    if index >= most:
        raise SpecError(f"there is room for {most} {bus} drives: use virtio-scsi for more")
    return index


def slot(family: str, slots: Sequence[int], index: int) -> int:
    """The ``index``-th slot of a family. Raises SpecError when they are used up."""
    if index >= len(slots):
        raise SpecError(f"there is room for {len(slots)} {family}, and no more")
    return slots[index]

"""What the machine type means for devices: the buses that there are, and who sits where on them.

Slots on the PCI bus are given out by family, not in the order of the command line as QEMU would: another disk
must not move a NIC, by whose slot the guest names it (``enp0s8``). Slots 0, 1 and 0x1f belong to the chipsets.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from qsup.errors import SpecError

SLOT_VIDEO: Final = 0x2
SLOT_USB: Final = 0x3
SLOT_SCSI: Final = 0x4
SLOT_VIRTIO_SERIAL: Final = 0x5
SLOT_RNG: Final = 0x6
SLOTS_NIC: Final = range(0x8, 0x10)
SLOTS_DISK: Final = range(0x10, 0x1F)


class Board(Enum):
    """The kinds of machine that differ in how devices are attached."""

    Q35 = "q35"
    PC = "pc"
    MICROVM = "microvm"

    @classmethod
    def of(cls, machine_type: str) -> Board:
        """The kind of a machine type, versioned (``pc-q35-7.2``) or not; what has another name counts as a ``pc``."""
        if machine_type.startswith("microvm"):
            return cls.MICROVM
        if machine_type.startswith(("q35", "pc-q35")):
            return cls.Q35
        return cls.PC

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

    def ide(self, driver: str, index: int) -> dict[str, object]:
        """The place of the ``index``-th IDE drive: AHCI ports of one drive on q35, channels of two on pc."""
        if self is Board.MICROVM:
            raise SpecError("a microvm has no IDE bus: use virtio-blk or virtio-scsi, or machine type q35")
        if index >= (most := 6 if self is Board.Q35 else 4):
            raise SpecError(f"this machine type has room for {most} IDE drives: use virtio-scsi for more")
        if self is Board.Q35:
            return {"driver": driver, "bus": f"ide.{index}"}
        return {"driver": driver, "bus": f"ide.{index // 2}", "unit": index % 2}


def slot(family: str, slots: range, index: int) -> int:
    """The ``index``-th slot of a family. Raises SpecError when they are used up."""
    if index >= len(slots):
        raise SpecError(f"there is room for {len(slots)} {family}, and no more")
    return slots[index]

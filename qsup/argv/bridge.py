"""The PCI bridge, behind which stands what a guest has rarely, or many of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv import inputs, panic, serial
from qsup.argv.board import BRIDGE, SLOT_BRIDGE, SLOTS_DISK, Board
from qsup.argv.quote import device
from qsup.spec.tables.disk import DiskBus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec


def options(draft: Draft) -> Iterator[Option]:
    """The bridge comes before all that sits on it."""
    if draft.board is Board.MICROVM or not is_needed(draft.spec):
        return
    if draft.board is Board.Q35:
        yield device({**draft.board.pci("pcie-pci-bridge", SLOT_BRIDGE), "id": BRIDGE})
    else:
        yield device({**draft.board.pci("pci-bridge", SLOT_BRIDGE), "id": BRIDGE, "chassis_nr": 1})


def is_needed(spec: GuestSpec) -> bool:
    """Whether the guest has a device that is placed behind the bridge."""
    if any(family.is_on_bridge(spec) for family in (panic, serial, inputs)):
        return True
    with_slots = [disk for disk in spec.disk.values() if disk.bus in {DiskBus.VIRTIO_BLK, DiskBus.NVME}]
    return len(with_slots) > len(SLOTS_DISK) or bool(spec.share)

"""The board, its accelerator and its IOMMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.board import SLOT_IOMMU, Board
from qsup.argv.firmware import machine_words
from qsup.argv.invocation import Option
from qsup.argv.memory import main_backend
from qsup.argv.quote import device, pairs
from qsup.errors import SpecError
from qsup.spec.tables.machine import Accel, Iommu

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """The machine; a core dump of QEMU is for QEMU's faults and leaves out the guest's memory.

    An IOMMU comes before all devices that it is to see.
    """
    words: dict[str, str | int | bool] = {"type": draft.machine, "dump_guest_core": False}
    if (memory := main_backend(draft.spec)) is not None:
        words["memory_backend"] = memory
    if _remaps_interrupts(draft):
        words["kernel_irqchip"] = "split"
    words |= machine_words(draft)
    yield Option("-machine", pairs(**words))
    yield from _accel(draft)
    yield from _iommu(draft)


def _accel(draft: Draft) -> Iterator[Option]:
    """KVM comes by the fd where QEMU takes it so; then its user needs no access to it."""
    if not draft.devices:
        yield Option("-accel", draft.accel.value)
    for kvm in draft.devices:
        yield Option("-add-fd", pairs(fd=kvm.fd, set=kvm.fd))
        yield Option("-accel", pairs(draft.accel.value, device=f"/dev/fdset/{kvm.fd}"))


def _remaps_interrupts(draft: Draft) -> bool:
    """Whether KVM has to leave the IOAPIC to QEMU, where the interrupts that the IOMMU remaps come from."""
    return draft.accel is Accel.KVM and draft.spec.machine.iommu is Iommu.INTEL


def _iommu(draft: Draft) -> Iterator[Option]:
    match draft.spec.machine.iommu:
        case Iommu.INTEL:
            if draft.board is not Board.Q35:
                raise SpecError('machine.iommu = "intel" is for q35')
            # With caching mode the guest tells of new mappings as well, without which no device can be passed through.
            yield device({"driver": "intel-iommu", "id": "iommu", "intremap": "on", "caching-mode": True})
        case Iommu.VIRTIO:
            yield device({**draft.board.pci("virtio-iommu-pci", SLOT_IOMMU), "id": "iommu"})
        case Iommu.NONE:
            pass

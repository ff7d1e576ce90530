"""Disks and CD-ROM drives.

The table's id is the drive's serial number too, so a Linux guest finds `[disk.root]` under
``/dev/disk/by-id/`` on every bus.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

from qsup.argv.blockdev import image, write_cache
from qsup.argv.board import SLOT_SCSI, SLOTS_DISK, slot
from qsup.argv.quote import device
from qsup.errors import SpecError
from qsup.spec.devices import Aio, Cache, Cdrom, CdromBus, Discard, Disk, DiskBus, DiskFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option

SCSI: Final = "scsi"
"""The one virtio-scsi controller, which all SCSI drives share."""


def options(draft: Draft) -> Iterator[Option]:
    """Disks in the file's order, then CD-ROM drives; each bus counts its own."""
    drives: tuple[Disk | Cdrom, ...] = (*draft.spec.disk.values(), *draft.spec.cdrom.values())
    if any(drive.bus in {DiskBus.VIRTIO_SCSI, CdromBus.VIRTIO_SCSI} for drive in drives):
        yield device({**draft.board.virtio("scsi", SLOT_SCSI), "id": SCSI})
    places = _Places(draft)
    for name, disk in draft.spec.disk.items():
        yield from _disk(draft, places, name, disk)
    for name, cdrom in draft.spec.cdrom.items():
        yield from _cdrom(draft, places, name, cdrom)


class _Places:
    """Gives each drive the next place on its bus."""

    def __init__(self, draft: Draft) -> None:
        self._board = draft.board
        self._pci, self._scsi, self._ide = count(), count(), count()

    def disk(self, bus: DiskBus) -> dict[str, object]:
        match bus:
            case DiskBus.VIRTIO_BLK:
                return self._board.virtio("blk", self._slot())
            case DiskBus.NVME:
                return self._board.pci("nvme", self._slot())
            case DiskBus.VIRTIO_SCSI:
                return self._on_scsi("scsi-hd")
            case DiskBus.IDE:
                return self._board.ide("ide-hd", next(self._ide))

    def cdrom(self, bus: CdromBus) -> dict[str, object]:
        match bus:
            case CdromBus.VIRTIO_SCSI:
                return self._on_scsi("scsi-cd")
            case CdromBus.IDE:
                return self._board.ide("ide-cd", next(self._ide))

    def _slot(self) -> int:
        return slot("virtio-blk and nvme disks", SLOTS_DISK, next(self._pci))

    def _on_scsi(self, driver: str) -> dict[str, object]:
        return {"driver": driver, "bus": f"{SCSI}.0", "scsi-id": next(self._scsi), "lun": 0}


def _disk(draft: Draft, places: _Places, name: str, disk: Disk) -> Iterator[Option]:
    node = f"disk-{name}"
    if disk.read_only and disk.bus is DiskBus.IDE:
        raise SpecError(f"disk.{name}: an IDE disk cannot be read-only; use another bus, or a cdrom")
    if disk.aio is Aio.NATIVE and disk.cache not in {Cache.NONE, Cache.DIRECTSYNC}:
        raise SpecError(f'disk.{name}: aio = "native" needs cache = "none" or "directsync"')
    yield from image(
        node,
        disk.file,
        disk.format,
        read_only=disk.read_only,
        cache=disk.cache,
        aio=disk.aio,
        discard=disk.discard,
    )
    yield device(
        {
            **places.disk(disk.bus),
            "id": node,
            "drive": node,
            "serial": name,
            "write-cache": write_cache(disk.cache),
            "bootindex": draft.boot_index.get(node),
        }
    )


def _cdrom(draft: Draft, places: _Places, name: str, cdrom: Cdrom) -> Iterator[Option]:
    node = f"cdrom-{name}"
    if cdrom.file is not None:
        yield from image(
            node,
            cdrom.file,
            DiskFormat.RAW,
            read_only=True,
            cache=Cache.WRITEBACK,
            aio=Aio.THREADS,
            discard=Discard.IGNORE,
        )
    yield device(
        {
            **places.cdrom(cdrom.bus),
            "id": node,
            "drive": node if cdrom.file is not None else None,
            "serial": name,
            "bootindex": draft.boot_index.get(node),
        }
    )

"""Disks, and the controllers that drives share.

Unless the file says otherwise, the table's id is the drive's serial number too, so a Linux guest finds `[disk.root]`
under ``/dev/disk/by-id/`` on every bus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.blockdev import Image, nodes, top, write_cache
from qsup.argv.board import SLOT_SATA, SLOT_SCSI, Board
from qsup.argv.files import CreateImage
from qsup.argv.iothread import thread_id
from qsup.argv.places import SATA, SCSI, Places, drive_buses
from qsup.argv.quote import device, sourced
from qsup.argv.throttle import group_id
from qsup.errors import SpecError
from qsup.spec.storage import one_controller
from qsup.spec.tables.disk import SHORT_SERIAL, Aio, DiskBus, ReadError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.files import File
    from qsup.argv.invocation import Option
    from qsup.spec.tables.disk import Disk


def options(draft: Draft) -> Iterator[Option]:
    """The controllers, then the disks in the file's order."""
    yield from _controllers(draft)
    places = Places(draft)
    for name, disk in draft.spec.disk.items():
        yield from sourced(("disk", name), _disk(draft, places, name, disk))


def files(draft: Draft) -> Iterator[File]:
    """The images that are to be made."""
    for name, disk in draft.spec.disk.items():
        if disk.file is not None and (disk.create is not None or disk.base is not None):
            base_format = None if disk.base is None else disk.base_format.value
            source = ("disk", name)
            yield CreateImage(disk.file, disk.format.value, disk.create, disk.base, base_format, source)


def notes(draft: Draft) -> Iterator[str]:
    """Where another kind of I/O is done than the one asked for."""
    for name, disk in draft.spec.disk.items():
        if disk.aio is not _aio(draft, disk):
            lacks = "this QEMU" if draft.facts.io_uring else "the kernel of this host"
            yield f'disk.{name}.aio: {lacks} cannot do "{disk.aio}"; "{_aio(draft, disk)}" is used instead'


def _controllers(draft: Draft) -> Iterator[Option]:
    buses = set(drive_buses(draft.spec).values())
    if DiskBus.VIRTIO_SCSI in buses:
        yield _scsi(draft)
    if DiskBus.SATA in buses and draft.board is Board.PC:
        yield device({**draft.board.pci("ich9-ahci", SLOT_SATA), "id": SATA})


def _scsi(draft: Draft) -> Option:
    """The controller has what its disks ask for; where two ask for different things, neither would get its own."""
    for path, message in one_controller(draft.spec):
        raise SpecError(f"{'.'.join(map(str, path))}: {message}")
    disks = [disk for disk in draft.spec.disk.values() if disk.bus is DiskBus.VIRTIO_SCSI]
    thread = next((disk.iothread for disk in disks if disk.iothread is not None), None)
    queues = next((disk.queues for disk in disks if disk.queues is not None), None)
    place = draft.board.virtio("scsi", SLOT_SCSI)
    return device({**place, "id": SCSI, "iothread": _thread(thread), "num_queues": queues})


def _disk(draft: Draft, places: Places, name: str, disk: Disk) -> Iterator[Option]:
    node = f"disk-{name}"
    if trouble := next(disk.wrong(), None):
        raise SpecError(f"{'.'.join(('disk', name, *map(str, trouble[0])))}: {trouble[1]}")
    image = _image(draft, disk)
    yield from nodes(node, image)
    own = disk.bus is DiskBus.VIRTIO_BLK
    yield device(
        {
            **places[node],
            "id": node,
            "drive": top(node, image),
            **_serial(disk, disk.serial or name),
            "write-cache": write_cache(disk.cache),
            "werror": None if disk.werror is WriteError.ENOSPC else disk.werror,
            "rerror": None if disk.rerror is ReadError.REPORT else disk.rerror,
            "iothread": _thread(disk.iothread) if own else None,
            "num-queues": disk.queues if own else None,
            "bootindex": draft.boot_index.get(node),
        }
    )


def _serial(disk: Disk, serial: str) -> dict[str, object]:
    """A long one is none that QEMU would take for the SCSI device's identifier as well."""
    long = disk.bus is DiskBus.VIRTIO_SCSI and len(serial) > SHORT_SERIAL
    return {"serial": serial, "device_id": serial[:SHORT_SERIAL] if long else None}


def _image(draft: Draft, disk: Disk) -> Image:
    return Image(
        file=disk.file,
        nbd=disk.nbd,
        format=disk.format,
        read_only=disk.read_only,
        cache=disk.cache,
        aio=_aio(draft, disk),
        discard=disk.discard,
        detect_zeroes=disk.detect_zeroes,
        throttle=None if disk.throttle is None else group_id(disk.throttle),
    )


def _aio(draft: Draft, disk: Disk) -> Aio:
    """How the I/O is done: ``io_uring`` where QEMU was built with it and the kernel lets it."""
    facts = draft.facts
    if disk.aio is Aio.IO_URING and not (facts.io_uring and facts.has_member("BlockdevAioOptions", disk.aio)):
        return Aio.THREADS
    return disk.aio


def _thread(name: str | None) -> str | None:
    return None if name is None else thread_id(name)

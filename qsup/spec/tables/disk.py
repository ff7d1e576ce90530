"""Disks and CD-ROM drives. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, HostPath, Identifier, Section, about, form, within
from qsup.spec.nbd import NBD, parse
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIAL: Final = form(
    r"^[A-Za-z0-9_.+() -]{1,36}$(?!\n)",
    "a serial number is up to 36 letters, digits, blanks, or any of _ . + - ( )",
)
SHORT_SERIAL: Final = 20
"""Characters of a serial number that all buses but SCSI have room for."""
SECTOR: Final = 512


class DiskFormat(StrEnum):
    """The format of an image; never guessed, as a guest can write what a guess would read."""

    QCOW2 = "qcow2"
    RAW = "raw"


class DiskBus(StrEnum):
    """How a disk is attached."""

    VIRTIO_BLK = "virtio-blk"
    VIRTIO_SCSI = "virtio-scsi"
    SATA = "sata"
    IDE = "ide"
    NVME = "nvme"
    USB = "usb"


class Cache(StrEnum):
    """QEMU's cache modes, as in the table of ``-drive cache=`` in its manual."""

    NONE = "none"
    WRITEBACK = "writeback"
    WRITETHROUGH = "writethrough"
    DIRECTSYNC = "directsync"
    UNSAFE = "unsafe"


class Aio(StrEnum):
    """How QEMU reads and writes an image file."""

    THREADS = "threads"
    NATIVE = "native"
    IO_URING = "io_uring"


class Discard(StrEnum):
    """Whether the guest's discard requests reach the image."""

    IGNORE = "ignore"
    UNMAP = "unmap"


class DetectZeroes(StrEnum):
    """What becomes of written zeroes."""

    OFF = "off"
    ON = "on"
    UNMAP = "unmap"


class WriteError(StrEnum):
    """What follows when the host cannot write."""

    ENOSPC = "enospc"
    STOP = "stop"
    REPORT = "report"
    IGNORE = "ignore"


class ReadError(StrEnum):
    """What follows when the host cannot read."""

    REPORT = "report"
    STOP = "stop"
    IGNORE = "ignore"


class Disk(Section, frozen=True, kw_only=True):
    """A disk: `[disk.ID]`."""

    file: Annotated[
        HostPath | None, about("The image, or a block device of the host.", qemu="-blockdev filename=")
    ] = None
    nbd: Annotated[
        Annotated[str, NBD, Meta(max_length=4096)] | None,
        about(
            "Instead of a file, an export of an NBD server: `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=/PATH`.",
            qemu="-blockdev driver=nbd,server=",
        ),
    ] = None
    format: Annotated[
        DiskFormat,
        about(
            "The image's format. It is never guessed: a guest could write what a guess would read.",
            qemu="-blockdev driver=",
        ),
    ] = DiskFormat.QCOW2
    bus: Annotated[
        DiskBus,
        about(
            "How the disk is attached. `sata` is q35's own, and added to a pc; `ide` is for a pc only.",
            qemu="-device DRIVER",
        ),
    ] = DiskBus.VIRTIO_BLK
    read_only: Annotated[bool, about("The guest cannot write to it.", qemu="-blockdev read-only=")] = False
    cache: Annotated[
        Cache,
        about(
            "QEMU's cache mode. `none` and `directsync` need O_DIRECT from the file system.",
            qemu="-blockdev cache.direct=,cache.no-flush= -device write-cache=",
        ),
    ] = Cache.WRITEBACK
    aio: Annotated[
        Aio,
        about(
            "How QEMU does the I/O. `native` needs `cache` `none` or `directsync`; `io_uring` becomes `threads`, with a notice, where QEMU or the kernel lacks it.",
            qemu="-blockdev aio=",
        ),
    ] = Aio.THREADS
    discard: Annotated[
        Discard, about("Whether the guest's TRIM frees space in the image.", qemu="-blockdev discard=")
    ] = Discard.UNMAP
    detect_zeroes: Annotated[
        DetectZeroes,
        about(
            "Whether blocks of zeroes are looked for in what the guest writes: `on` stores them sparsely, `unmap` frees their space.",
            qemu="-blockdev detect-zeroes=",
        ),
    ] = DetectZeroes.OFF
    werror: Annotated[
        WriteError,
        about(
            "When the host cannot write: `stop` the guest, `report` it to the guest, `ignore` it, or stop if the disk is full and report else (`enospc`).",
            qemu="-device werror=",
        ),
    ] = WriteError.ENOSPC
    rerror: Annotated[
        ReadError,
        about(
            "When the host cannot read: `report` it to the guest, `stop` the guest, or `ignore` it.",
            qemu="-device rerror=",
        ),
    ] = ReadError.REPORT
    throttle: Annotated[
        Identifier | None,
        about(
            "The `[throttle.ID]` whose limits it shares.", qemu="-blockdev driver=throttle,throttle-group="
        ),
    ] = None
    iothread: Annotated[
        Identifier | None,
        about(
            "The `[iothread.ID]` that does its I/O; for `virtio-blk` and `virtio-scsi`.",
            qemu="-device iothread=",
        ),
    ] = None
    queues: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None,
        about(
            "How many request queues; for `virtio-blk` and `virtio-scsi`. Without it QEMU makes one for each vCPU.",
            qemu="-device num-queues=",
        ),
    ] = None
    serial: Annotated[
        Annotated[str, SERIAL] | None,
        about("The serial number that the guest sees; without it the disk's id.", qemu="-device serial="),
    ] = None
    create: Annotated[
        Size | None,
        about("Made with this size, empty, where the file does not exist.", qemu="qemu-img create"),
    ] = None
    base: Annotated[
        HostPath | None,
        about(
            "Made on top of this image, which is only read, where the file does not exist; as large as that one without `create`.",
            qemu="qemu-img create -b",
        ),
    ] = None
    base_format: Annotated[DiskFormat, about("The format of `base`.", qemu="qemu-img create -F")] = (
        DiskFormat.QCOW2
    )

    def wrong(self) -> Iterator[Finding]:
        """What does not go together."""
        yield from self._source()
        yield from self._block()
        yield from self._device()
        if self.create is not None or self.base is not None:
            yield from self._made()

    def _source(self) -> Iterator[Finding]:
        if self.file is None and self.nbd is None:
            yield ("file",), "is missing; write file, or nbd for an export of an NBD server"
        if self.nbd is None:
            return
        if self.file is not None:
            yield ("nbd",), "stands beside file; a disk has one of them"
        if self.aio is not Aio.THREADS:
            yield ("aio",), "is for files, and nbd is none"
        try:
            parse(self.nbd)
        except ValueError as error:
            yield ("nbd",), str(error)

    def _block(self) -> Iterator[Finding]:
        if self.aio is Aio.NATIVE and self.cache not in (Cache.NONE, Cache.DIRECTSYNC):
            yield ("aio",), f'"native" needs cache = "none" or "directsync", not "{self.cache}"'
        if self.detect_zeroes is DetectZeroes.UNMAP and self.discard is not Discard.UNMAP:
            yield ("detect-zeroes",), f'"unmap" needs discard = "unmap", not "{self.discard}"'

    def _device(self) -> Iterator[Finding]:
        if self.read_only and self.bus in (DiskBus.IDE, DiskBus.SATA):
            yield (
                ("read-only",),
                f'a disk on bus = "{self.bus}" cannot be read-only; use another bus, or a cdrom',
            )
        if self.bus is DiskBus.NVME:
            for key, default in (("werror", WriteError.ENOSPC), ("rerror", ReadError.REPORT)):
                if getattr(self, key) != default:
                    yield (key,), f'is not for bus = "nvme", which always does "{default}"'
        if self.bus not in (DiskBus.VIRTIO_BLK, DiskBus.VIRTIO_SCSI):
            for key in ("iothread", "queues"):
                if getattr(self, key) is not None:
                    yield (key,), f'is for bus = "virtio-blk" or "virtio-scsi", not "{self.bus}"'
        long = self.bus is DiskBus.VIRTIO_SCSI
        if self.serial is not None and len(self.serial) > SHORT_SERIAL and not long:
            yield (
                ("serial",),
                f'is too long; a disk on bus = "{self.bus}" has room for {SHORT_SERIAL} characters',
            )

    def _made(self) -> Iterator[Finding]:
        key = "create" if self.create is not None else "base"
        if self.nbd is not None:
            yield (key,), "is for files, and nbd is none"
        elif self.file is not None and self.file.startswith("/dev/"):
            yield (key,), f"is for files, and {self.file} is a device"
        if self.create is not None:
            yield from within("create", self.create, "512 B", "4096 TiB")
            if self.create % SECTOR:
                yield ("create",), f"{self.create} is not a whole number of sectors of {SECTOR} bytes"
            if self.read_only and self.base is None:
                yield ("create",), "would be empty for ever: the disk is read-only"
        if self.base is not None:
            if self.format is not DiskFormat.QCOW2:
                yield ("base",), f'needs format = "qcow2": a {self.format} image has no base'
            if self.base == self.file:
                yield ("base",), "is the disk's own file"


class CdromBus(StrEnum):
    """How a CD-ROM drive is attached."""

    SATA = "sata"
    IDE = "ide"
    VIRTIO_SCSI = "virtio-scsi"
    USB = "usb"


class Cdrom(Section, frozen=True, kw_only=True):
    """A CD-ROM drive: `[cdrom.ID]`."""

    file: Annotated[
        HostPath | None, about("The ISO image; an empty drive without it.", qemu="-blockdev filename=")
    ] = None
    bus: Annotated[
        CdromBus | None,
        about(
            "How the drive is attached. Without it as the machine's own are: `sata` (q35), `ide` (pc), `virtio-scsi` (microvm).",
            qemu="-device DRIVER",
        ),
    ] = None

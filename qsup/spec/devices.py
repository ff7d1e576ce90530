"""What a guest is equipped with, table by table; declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from qsup.spec.base import HostPath, Section
from qsup.units import Size

MAC_PATTERN: Final = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$(?!\n)"
INTERFACE_PATTERN: Final = r"^[A-Za-z0-9_.-]{1,15}$(?!\n)"
FORWARD_PATTERN: Final = r"^(tcp|udp):([0-9.]+)?:[0-9]{1,5}:[0-9]{1,5}$(?!\n)"


class DiskFormat(StrEnum):
    """The format of an image; never guessed, as a guest can write what a guess would read."""

    QCOW2 = "qcow2"
    RAW = "raw"


class DiskBus(StrEnum):
    """How a disk is attached."""

    VIRTIO_BLK = "virtio-blk"
    VIRTIO_SCSI = "virtio-scsi"
    IDE = "ide"
    NVME = "nvme"


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


class Disk(Section, frozen=True, kw_only=True):
    """A disk: `[disk.ID]`."""

    file: Annotated[HostPath, Meta(description="The image, or a block device of the host.")]
    format: Annotated[
        DiskFormat,
        Meta(
            description="The image's format. It is never guessed: a guest could write what a guess would read."
        ),
    ] = DiskFormat.QCOW2
    bus: Annotated[DiskBus, Meta(description="How the disk is attached.")] = DiskBus.VIRTIO_BLK
    read_only: Annotated[bool, Meta(description="The guest cannot write to it.")] = False
    cache: Annotated[
        Cache,
        Meta(description="QEMU's cache mode. `none` and `directsync` need O_DIRECT from the file system."),
    ] = Cache.WRITEBACK
    aio: Annotated[
        Aio, Meta(description="How QEMU does the I/O. `native` needs `cache` `none` or `directsync`.")
    ] = Aio.THREADS
    discard: Annotated[Discard, Meta(description="Whether the guest's TRIM frees space in the image.")] = (
        Discard.UNMAP
    )


class CdromBus(StrEnum):
    """How a CD-ROM drive is attached."""

    IDE = "ide"
    VIRTIO_SCSI = "virtio-scsi"


class Cdrom(Section, frozen=True, kw_only=True):
    """A CD-ROM drive: `[cdrom.ID]`."""

    file: Annotated[HostPath | None, Meta(description="The ISO image; an empty drive without it.")] = None
    bus: Annotated[CdromBus, Meta(description="How the drive is attached.")] = CdromBus.IDE


class NicType(StrEnum):
    """What a NIC is connected to."""

    USER = "user"
    TAP = "tap"
    BRIDGE = "bridge"


class NicModel(StrEnum):
    """The network card that the guest sees."""

    VIRTIO_NET = "virtio-net"
    E1000 = "e1000"
    E1000E = "e1000e"
    RTL8139 = "rtl8139"


class Nic(Section, frozen=True, kw_only=True):
    """A network card: `[nic.ID]`."""

    type: Annotated[
        NicType,
        Meta(
            description="`user`: QEMU's own NAT; `tap`: a tap interface that exists; `bridge`: a tap made by QEMU's bridge helper."
        ),
    ] = NicType.USER
    model: Annotated[NicModel, Meta(description="The card that the guest sees.")] = NicModel.VIRTIO_NET
    mac: Annotated[
        Annotated[str, Meta(pattern=MAC_PATTERN)] | None,
        Meta(
            description="The MAC address, in lower case. Without it one is derived from the guest's name and the NIC's id, so it stays the same."
        ),
    ] = None
    forward: Annotated[
        tuple[Annotated[str, Meta(pattern=FORWARD_PATTERN)], ...],
        Meta(
            max_length=256,
            description="For `user`: `PROTOCOL:HOST-ADDRESS:HOST-PORT:GUEST-PORT`, say `tcp:127.0.0.1:8080:80`.",
        ),
    ] = ()
    interface: Annotated[
        Annotated[str, Meta(pattern=INTERFACE_PATTERN)] | None,
        Meta(description="For `tap`: the interface's name."),
    ] = None
    bridge: Annotated[
        Annotated[str, Meta(pattern=INTERFACE_PATTERN)] | None,
        Meta(description="For `bridge`: the bridge's name; it must be allowed in QEMU's `bridge.conf`."),
    ] = None
    helper: Annotated[
        HostPath | None,
        Meta(
            description="For `bridge`: the path of `qemu-bridge-helper` where it is not the one that QEMU was built with."
        ),
    ] = None


class Serial(Section, frozen=True, kw_only=True):
    """A serial port: `[serial.ID]`. `qsup console` attaches to it, `qsup log` shows its rotated log."""

    log: Annotated[bool, Meta(description="Whether what the guest prints is kept.")] = True
    log_size: Annotated[
        Size, Meta(description="How large the log grows before it is rotated; one older file is kept.")
    ] = Size.parse("4 MiB")


class DisplayType(StrEnum):
    """Where the guest's screen goes."""

    NONE = "none"
    VNC = "vnc"


class Display(Section, frozen=True, kw_only=True):
    """The guest's screen."""

    type: Annotated[
        DisplayType,
        Meta(
            description="`none`, or `vnc`: a VGA card whose screen is served on a Unix socket in the guest's run directory (`qsup status` tells where)."
        ),
    ] = DisplayType.NONE


class Rng(Section, frozen=True, kw_only=True):
    """A virtio source of random numbers."""

    enabled: Annotated[bool, Meta(description="Whether the guest has it.")] = False
    source: Annotated[HostPath, Meta(description="The host's device that feeds it.")] = HostPath(
        "/dev/urandom"
    )


class Agent(Section, frozen=True, kw_only=True):
    """The channel of the QEMU guest agent."""

    enabled: Annotated[
        bool, Meta(description="Whether the guest has the channel `org.qemu.guest_agent.0`.")
    ] = False


class Panic(Section, frozen=True, kw_only=True):
    """The pvpanic device, through which a guest's kernel tells that it has panicked."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether the guest has it. Linux has the driver; without the device a panic looks like a hang or a reset."
        ),
    ] = False

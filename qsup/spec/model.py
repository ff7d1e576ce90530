"""What a guest file says, as types: each setting is declared here once, and nowhere else.

The declaration gives the key (in kebab case), its type, its default and its description; the parser, the checks
of types and ranges, the reference in the README and the comparison of two specs are all derived from it. A spec
is immutable, holds no defaults of the host, and does no I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from qsup.units import Duration, Size

# `$` alone would let a newline at the end pass.
NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,47}$(?!\n)"
"""Names of guests: also file names, lock names and parts of socket names."""
ID_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,19}$(?!\n)"
"""Ids of devices: QEMU's own rule for ids, short enough for a node-name (31 bytes) with a prefix."""
TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$(?!\n)"
"""Text for people and command lines: one line, no control characters."""
MAC_PATTERN: Final = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$(?!\n)"
MACHINE_PATTERN: Final = r"^[a-z][a-z0-9.-]{0,39}$(?!\n)"
CPU_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,39}$(?!\n)"
INTERFACE_PATTERN: Final = r"^[A-Za-z0-9_.-]{1,15}$(?!\n)"
FORWARD_PATTERN: Final = r"^(tcp|udp):([0-9.]+)?:[0-9]{1,5}:[0-9]{1,5}$(?!\n)"

Text = Annotated[str, Meta(pattern=TEXT_PATTERN, max_length=4096)]
Identifier = Annotated[str, Meta(pattern=ID_PATTERN)]


class HostPath(str):
    """An absolute path on the host. In a file it may be relative: it starts at the configuration directory then."""

    __slots__ = ()


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The base of all tables of a guest file: immutable, strict about keys."""


class Accel(StrEnum):
    """The accelerator: ``auto`` takes KVM where it works and TCG where not."""

    KVM = "kvm"
    TCG = "tcg"
    AUTO = "auto"


class Machine(Section, frozen=True, kw_only=True):
    """The board."""

    type: Annotated[
        str,
        Meta(
            pattern=MACHINE_PATTERN,
            description="The machine type, as `qemu-system-x86_64 -machine help` lists it: `q35`, `pc`, `microvm` or a versioned one.",
        ),
    ] = "q35"
    accel: Annotated[
        Accel, Meta(description="`kvm`; `tcg`, which needs no hardware; or `auto`: KVM where it works.")
    ] = Accel.KVM


class Cpu(Section, frozen=True, kw_only=True):
    """The virtual processors."""

    model: Annotated[
        str,
        Meta(
            pattern=CPU_PATTERN,
            description="The CPU model. `host` is the host's own; under TCG, which cannot give that, it means `max`.",
        ),
    ] = "host"
    count: Annotated[int, Meta(ge=1, le=1024, description="How many vCPUs.")] = 1


class Memory(Section, frozen=True, kw_only=True):
    """The guest's RAM."""

    size: Annotated[Size, Meta(description="How much memory the guest has; at least 1 MiB, whole MiB.")] = (
        Size.parse("1 GiB")
    )


class Boot(Section, frozen=True, kw_only=True):
    """What the firmware starts, or the kernel that QEMU loads itself."""

    order: Annotated[
        tuple[Identifier, ...],
        Meta(
            max_length=64,
            description="Ids of disks, CD-ROMs and NICs in the order in which the firmware tries them.",
        ),
    ] = ()
    kernel: Annotated[
        HostPath | None, Meta(description="A Linux kernel that QEMU loads directly, without a boot loader.")
    ] = None
    initrd: Annotated[HostPath | None, Meta(description="The initial RAM disk for `kernel`.")] = None
    cmdline: Annotated[Text, Meta(description="The command line for `kernel`.")] = ""


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


class Restart(StrEnum):
    """When a guest whose run ended by itself is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Reaction(StrEnum):
    """What a rule in ``[restart.on]`` can ask for."""

    RESTART = "restart"
    RESET = "reset"
    STOP = "stop"
    PAUSE = "pause"
    IGNORE = "ignore"


class RestartOn(Section, frozen=True, kw_only=True):
    """Rules for single causes, over the policy: `[restart.on]`."""

    guest_shutdown: Annotated[
        Reaction | None,
        Meta(
            description="The guest powered itself off: `restart`, `reset`, `stop` or `pause` (kept for inspection)."
        ),
    ] = None
    guest_panic: Annotated[
        Reaction | None,
        Meta(
            description="The guest's kernel panicked: `restart`, `reset`, `stop`, `pause` (kept for inspection) or `ignore` (runs on)."
        ),
    ] = None
    guest_reset: Annotated[
        Reaction | None,
        Meta(
            description="The guest reset itself. QEMU has reset it already, so without a rule it runs on: `restart` or `stop` change that."
        ),
    ] = None
    triple_fault: Annotated[
        Reaction | None,
        Meta(
            description="A vCPU met a triple fault (told from a reset under TCG only): `restart` or `stop`; without a rule as `guest-reset`."
        ),
    ] = None
    qemu_exit: Annotated[Reaction | None, Meta(description="QEMU exited by itself: `restart` or `stop`.")] = (
        None
    )
    qemu_signal: Annotated[Reaction | None, Meta(description="A signal ended QEMU: `restart` or `stop`.")] = (
        None
    )
    kvm_internal_error: Annotated[
        Reaction | None,
        Meta(
            description="KVM cannot go on with a vCPU (run state `internal-error`): `restart`, `reset`, `stop` or `pause`."
        ),
    ] = None
    start_failed: Annotated[
        Reaction | None, Meta(description="QEMU could not be started: `restart` or `stop`.")
    ] = None


class RestartPolicy(Section, frozen=True, kw_only=True):
    """When the guest is started again, how soon and how often."""

    policy: Annotated[
        Restart,
        Meta(
            description="`always`; `on-failure`: unless the guest powered itself off; `never`. An operator's stop is always respected."
        ),
    ] = Restart.ON_FAILURE
    delay: Annotated[
        Duration,
        Meta(
            description="The wait before the first restart. It doubles with each failure in a row, with jitter."
        ),
    ] = Duration.parse("1 s")
    max_delay: Annotated[Duration, Meta(description="The wait never grows beyond this.")] = Duration.parse(
        "60 s"
    )
    limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="With this many failures within `window` the guest is given up until `qsup start`; 0 never gives up.",
        ),
    ] = 5
    window: Annotated[Duration, Meta(description="How far back failures count.")] = Duration.parse("10 min")
    stable_after: Annotated[Duration, Meta(description="A run this long clears the count and the delay.")] = (
        Duration.parse("10 min")
    )
    on: RestartOn = RestartOn()


class StopMethod(StrEnum):
    """A way to ask the guest to power itself off."""

    AGENT = "agent"
    ACPI = "acpi"


class Stop(Section, frozen=True, kw_only=True):
    """How the guest is stopped: by asking, then by `quit`, SIGTERM and SIGKILL."""

    methods: Annotated[
        tuple[StopMethod, ...],
        Meta(
            max_length=4,
            description="Asked in this order: `agent` (the guest agent's `guest-shutdown`), `acpi` (the power button).",
        ),
    ] = (StopMethod.AGENT, StopMethod.ACPI)
    repeat: Annotated[
        Duration, Meta(description="How long a method is waited for before the next, or the last once more.")
    ] = Duration.parse("10 s")
    timeout: Annotated[
        Duration, Meta(description="How long the guest has in all, before QEMU is told to quit.")
    ] = Duration.parse("90 s")


class Qemu(Section, frozen=True, kw_only=True):
    """The QEMU that runs the guest."""

    binary: Annotated[
        HostPath | None, Meta(description="The binary; without it the `qemu-binary` of qsup.toml.")
    ] = None
    args: Annotated[
        tuple[Text, ...],
        Meta(
            max_length=256,
            description="Arguments added as they are, one string each, for what qsup has no key for. Those that would break supervision are refused.",
        ),
    ] = ()
    start_timeout: Annotated[
        Duration, Meta(description="How long QEMU may take from its start to its first QMP answer.")
    ] = Duration.parse("30 s")


class GuestSpec(Section, frozen=True, kw_only=True):
    """One guest. ``name`` is the file's name without `.toml`; it is not a key."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]
    description: Annotated[Text, Meta(description="For people.")] = ""
    profile: Annotated[
        tuple[str, ...],
        Meta(max_length=32, description="Profiles merged in this order, tables key by key; this file wins."),
    ] = ()
    autostart: Annotated[
        bool,
        Meta(
            description="Whether a guest that no operator has started or stopped yet is started with the daemon. Afterwards the operator's last word counts."
        ),
    ] = False
    after: Annotated[
        tuple[str, ...],
        Meta(
            max_length=256,
            description="Guests that this one waits for: it starts when they are ready, and stops before them.",
        ),
    ] = ()
    machine: Machine = Machine()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    boot: Boot = Boot()
    disk: dict[Identifier, Disk] = {}
    cdrom: dict[Identifier, Cdrom] = {}
    nic: dict[Identifier, Nic] = {}
    serial: dict[Identifier, Serial] = {}
    display: Display = Display()
    rng: Rng = Rng()
    agent: Agent = Agent()
    panic: Panic = Panic()
    restart: RestartPolicy = RestartPolicy()
    stop: Stop = Stop()
    qemu: Qemu = Qemu()


LIVE_KEYS: Final = ("description", "profile", "autostart", "after", "restart", "stop")
"""Keys that take effect without a restart of the guest: the supervisor reads them, QEMU does not."""

LAUNCH_KEYS: Final = ("restart.on.guest-reset", "restart.on.triple-fault", "restart.on.guest-panic")
"""Keys below those that QEMU must be told of as it starts."""


class DaemonConfig(Section, frozen=True, kw_only=True):
    """The daemon's own file, `qsup.toml`."""

    qemu_binary: Annotated[HostPath, Meta(description="The QEMU for guests that name none.")] = HostPath(
        "/usr/bin/qemu-system-x86_64"
    )
    parallel_starts: Annotated[
        int,
        Meta(ge=1, le=256, description="How many guests may be starting at one moment when all are started."),
    ] = 4
    watch: Annotated[
        bool,
        Meta(
            description="Whether a change in the configuration directory is read at once (inotify), without `qsup reload`."
        ),
    ] = True

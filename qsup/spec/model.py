"""What a guest file says, as types: each setting is declared here once, and nowhere else.

The declaration gives the key (in kebab case), its type, its default and its description; the parser, the checks
of types and ranges, the reference in the README and the comparison of two specs are all derived from it. A spec
is immutable, holds no defaults of the host, and does no I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from qsup.spec.base import HostPath, Identifier, Section, Text
from qsup.spec.devices import Agent, Cdrom, Disk, Display, Nic, Panic, Rng, Serial
from qsup.spec.policy import RestartPolicy, Stop
from qsup.units import Duration, Size

NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,47}$(?!\n)"
"""Names of guests: also file names, lock names and parts of socket names."""
MACHINE_PATTERN: Final = r"^[a-z][a-z0-9.-]{0,39}$(?!\n)"
CPU_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,39}$(?!\n)"


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

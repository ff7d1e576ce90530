"""What this host and one QEMU binary can do, as far as a command line depends on it.

``qsup.probe`` finds it out. What has not been asked for counts as possible: then it is QEMU that refuses.
"""

from __future__ import annotations

import msgspec

from qsup.spec.programs import ASSUMED


class MachineType(msgspec.Struct, frozen=True):
    """A machine type that QEMU lists (``query-machines``)."""

    name: str
    """The name that stays the same for ever: ``pc-q35-7.2``."""
    max_cpus: int
    deprecated: bool = False


class FirmwareDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A firmware that is installed, as its descriptor tells (QEMU: docs/interop/firmware.json)."""

    path: str
    """The descriptor."""
    interfaces: tuple[str, ...]
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    """Architectures, each with patterns of machine types."""
    features: frozenset[str]
    mode: str
    """``split``, ``combined`` or ``stateless`` flash, or ``memory``."""
    code: str
    code_format: str = "raw"
    nvram: str | None = None
    nvram_format: str = "raw"


class Program(msgspec.Struct, frozen=True):
    """A helper program of this host."""

    path: str
    options: frozenset[str] = frozenset()
    """The long options that its ``--help`` names, with their hyphens; empty: not asked."""
    found: bool = True

    def has(self, option: str) -> bool:
        """Whether it has this option."""
        return not self.options or option in self.options


class HostFacts(msgspec.Struct, frozen=True):
    """What one binary on this host can do. An empty table means that it has not been asked."""

    binary: str
    kvm: bool
    kvm_trouble: str | None = None
    """Why KVM cannot be used, as a sentence."""
    takes_kvm: bool = False
    """Whether QEMU takes KVM as an fd; before version 9 it opens it itself."""
    vhost_net: bool = False
    """Whether the kernel can move the packets of a tap interface: ``/dev/vhost-net`` can be opened."""
    io_uring: bool = True
    """Whether the kernel lets this user have io_uring; whether QEMU can use it is among ``members``."""
    version: str = ""
    """For people; nothing is decided by it."""
    machines: dict[str, MachineType] = {}
    """By name and by alias."""
    cpus: dict[str, dict[str, tuple[str, ...]]] = {}
    """By accelerator (``kvm``, ``tcg``) and CPU model: the features that the model has and this host cannot give
    (``query-cpu-definitions``)."""
    devices: dict[str, frozenset[str]] = {}
    """The device types that there are, modules that are not installed left out, each with its properties where
    those could be asked for."""
    members: dict[str, frozenset[str]] = {}
    """Of QMP's schema: the values of enumerations and the members of objects, by the name of the type as QEMU's
    documentation has it (``BlockdevAioOptions``, ``NetClientDriver``, ``ObjectType``) or by its place
    (``blockdev-add:nfs``): ``qsup.probe.schema`` tells which there are. Also ``commands`` and
    ``events``, and what QEMU can load now, be it built as modules or not: ``displays`` and ``audio-backends``."""
    options: dict[str, frozenset[str]] = {}
    """Of ``query-command-line-options``: the parameters of each option that QEMU reads with its common parser. That
    leaves out, whether it has them or not, audiodev, blockdev, cpu, display, k, m, nographic, vga and the like."""

    firmware: tuple[FirmwareDescriptor, ...] | None = None
    """What firmware the host has, the best first; None if it has not been looked for."""
    programs: dict[str, Program] = {}
    """The helper programs that have been looked for, by name."""

    def program(self, name: str) -> Program:
        """A helper program; one that nobody has looked for is taken to be where it usually is."""
        return self.programs.get(name) or Program(ASSUMED[name])

    def has_machine(self, name: str) -> bool:
        """Whether QEMU lists this machine type."""
        return not self.machines or name in self.machines

    def cpu_lacks(self, accel: str, model: str) -> tuple[str, ...] | None:
        """What of a CPU model this host cannot give under an accelerator; None for a model that QEMU does not know."""
        known = self.cpus.get(accel)
        return known.get(model) if known else ()

    def has_device(self, driver: str) -> bool:
        """Whether QEMU can make this device."""
        return not self.devices or driver in self.devices

    def has_property(self, driver: str, name: str) -> bool:
        """Whether a device has this property."""
        known = self.devices.get(driver)
        return not known or name in known

    def has_member(self, kind: str, name: str) -> bool:
        """Whether an enumeration or an object of QMP's schema has this member."""
        known = self.members.get(kind)
        return not known or name in known

    def has_option(self, option: str, parameter: str | None = None) -> bool:
        """Whether the command line has this option, without its hyphen, and this parameter of it."""
        if not self.options:
            return True
        known = self.options.get(option)
        return known is not None and (parameter is None or not known or parameter in known)

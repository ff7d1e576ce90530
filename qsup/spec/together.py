"""What tables of one guest ask of each other: devices of the board and the accelerator, names of each other. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.spec.boards import BoardKind
from qsup.spec.tables.credential import PREFIX
from qsup.spec.tables.disk import CdromBus, DiskBus
from qsup.spec.tables.display import DisplayType
from qsup.spec.tables.input import Keyboard
from qsup.spec.tables.machine import Accel, UsbController
from qsup.spec.tables.nic import NicModel
from qsup.spec.tables.panic import PanicModel
from qsup.spec.tables.serial import SerialType
from qsup.spec.tables.sound import SoundModel
from qsup.spec.tables.watchdog import WatchdogModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Finding, Path
    from qsup.spec.model import GuestSpec

SERIAL_PORTS: Final = {SerialType.ISA: 4, SerialType.PCI: 3, SerialType.VIRTIO: 28, SerialType.USB: 8}
"""How many of each kind a guest can have."""
PARALLEL_PORTS: Final = 3
NICS: Final = 8
PCI_DEVICES: Final = 8


def together(spec: GuestSpec) -> Iterator[Finding]:
    """All that does not go together."""
    yield from _kvm_only(spec)
    yield from _redirected(spec)
    yield from _usb(spec)
    yield from _ports(spec)
    yield from _of_the_board(spec)
    yield from _names(spec)


def _kvm_only(spec: GuestSpec) -> Iterator[Finding]:
    """What ``auto`` leaves out where there is no KVM is wrong with an accelerator that never has it."""
    if spec.machine.accel is not Accel.TCG:
        return
    if any(spec.hyperv.features().values()):
        told = 'Hyper-V enlightenments are KVM\'s, and machine.accel is "tcg"; turn them off, or write accel = "auto"'
        yield ("hyperv",), told
    if spec.clock.pit_tick is not None:
        yield ("clock", "pit-tick"), 'is about KVM\'s timer, and machine.accel is "tcg"'


def _ports(spec: GuestSpec) -> Iterator[Finding]:
    for kind, most in SERIAL_PORTS.items():
        ports = [name for name, serial in spec.serial.items() if serial.type is kind]
        if len(ports) > most:
            yield (
                ("serial", ports[most]),
                f'{len(ports)} serial ports of type "{kind}"; a guest can have {most}',
            )
    if len(spec.parallel) > PARALLEL_PORTS:
        yield ("parallel",), f"{len(spec.parallel)} parallel ports; a PC has at most {PARALLEL_PORTS}"
    if len(spec.nic) > NICS:
        yield ("nic", [*spec.nic][NICS]), f"{len(spec.nic)} NICs; a guest can have {NICS}"
    if len(spec.pci) > PCI_DEVICES:
        told = f"{len(spec.pci)} PCI devices of the host; a guest can have {PCI_DEVICES}"
        yield ("pci", [*spec.pci][PCI_DEVICES]), told


def _of_the_board(spec: GuestSpec) -> Iterator[Finding]:
    board = BoardKind.of(spec.machine.type)
    if spec.watchdog.model is WatchdogModel.ITCO and board is not BoardKind.Q35:
        told = f'"itco" is a part of the q35 board, and machine.type is "{spec.machine.type}"; use "i6300esb"'
        yield ("watchdog", "model"), told
    if board is not BoardKind.MICROVM:
        return
    if spec.watchdog.model is WatchdogModel.I6300ESB:
        yield ("watchdog", "model"), 'a microvm has no PCI bus; use "ib700"'
    if spec.panic.enabled and spec.panic.model is PanicModel.PCI:
        yield ("panic", "model"), 'a microvm has no PCI bus; use "isa"'
    if spec.clock.hpet is not None:
        yield ("clock", "hpet"), "a microvm never has an HPET"
    for name, nic in spec.nic.items():
        if nic.model is not NicModel.VIRTIO_NET:
            yield ("nic", name, "model"), 'a microvm has no PCI bus; use "virtio-net"'
    for family, devices in (("usb", spec.usb), ("usb-redirect", spec.usb_redirect), ("pci", spec.pci)):
        for name in devices:
            yield (family, name), 'a microvm has no PCI bus, and so no USB; use machine.type = "q35"'
    for name, serial in spec.serial.items():
        if serial.type in {SerialType.PCI, SerialType.USB}:
            yield ("serial", name, "type"), 'a microvm has no PCI bus; use "isa" or "virtio"'


def _names(spec: GuestSpec) -> Iterator[Finding]:
    """Two files of one name, at which QEMU would not start."""
    named: list[tuple[str, Path]] = [
        (item.name or f"opt/qsup/{name}", ("fw-cfg", name)) for name, item in spec.fw_cfg.items()
    ]
    named += [(PREFIX + (item.name or name), ("credential", name)) for name, item in spec.credential.items()]
    owners: dict[str, Path] = {}
    for full, path in named:
        owner = owners.setdefault(full, path)
        if owner is not path:
            yield path, f'is named "{full}", like [{owner[0]}.{owner[1]}]'


def _usb(spec: GuestSpec) -> Iterator[Finding]:
    """What sits on a USB controller that is not to be there."""
    if spec.machine.usb is not UsbController.NONE:
        return
    users: list[Path] = [("usb", name) for name in spec.usb]
    users += [("usb-redirect", name) for name in spec.usb_redirect]
    users += [("disk", name, "bus") for name, disk in spec.disk.items() if disk.bus is DiskBus.USB]
    users += [("cdrom", name, "bus") for name, cdrom in spec.cdrom.items() if cdrom.bus is CdromBus.USB]
    users += [("serial", name, "type") for name, one in spec.serial.items() if one.type is SerialType.USB]
    if spec.cloud_init is not None and spec.cloud_init.bus is CdromBus.USB:
        users.append(("cloud-init", "bus"))
    if spec.input.keyboard is Keyboard.USB:
        users.append(("input", "keyboard"))
    if spec.input.pointer is not None and spec.input.pointer.is_usb:
        users.append(("input", "pointer"))
    if spec.sound.model is SoundModel.USB:
        users.append(("sound", "model"))
    yield from ((path, 'needs USB, and machine.usb is "none"') for path in users)


def _redirected(spec: GuestSpec) -> Iterator[Finding]:
    """Without SPICE QEMU takes such a device and never has anything to plug in."""
    for name, redirect in spec.usb_redirect.items():
        if redirect.address is None and spec.display.type is not DisplayType.SPICE:
            yield (
                ("usb-redirect", name),
                'needs an `address`, or display.type = "spice", whose viewer gives it',
            )

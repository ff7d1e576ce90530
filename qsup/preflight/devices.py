"""Devices of the host that a guest gets: whether they are there, free, and ours to give."""

from __future__ import annotations

import os
import resource
from pathlib import Path as File
from typing import TYPE_CHECKING, Final

from qsup.preflight.obstacle import REGULAR, Obstacle, unusable
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan
    from qsup.spec.base import Path
    from qsup.spec.tables.passthrough import PciDevice, UsbDevice

SYS: Final = File("/sys")
DEV: Final = File("/dev")
STATUS: Final = File("/proc/self/status")
VFIO: Final = "vfio-pci"
HARMLESS: Final = frozenset({VFIO, "pci-stub", "pcieport"})
"""Drivers that devices of a group may have of which one is given away (Linux: Documentation/driver-api/vfio.rst)."""
CAP_IPC_LOCK: Final = 14
"""Whoever has it may lock any amount of memory (Linux: capability.h)."""


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """The vsock device, USB, PCI, and memory that must be locked for it."""
    spec = plan.spec
    if spec.vsock.enabled:
        yield from _vsock()
    for name, usb in spec.usb.items():
        yield from _usb(("usb", name), usb)
    for name, pci in spec.pci.items():
        yield from _pci(name, pci)
    yield from _memory(plan)


def _vsock() -> Iterator[Obstacle]:
    device = DEV / "vhost-vsock"
    if not device.exists():
        yield Obstacle(("vsock", "enabled"), f"{device} does not exist; `modprobe vhost_vsock` makes it")
    elif not os.access(device, os.R_OK | os.W_OK):
        told = (
            f"{device} may not be opened by this user; add the user to the group that owns it (usually kvm)"
        )
        yield Obstacle(("vsock", "enabled"), told)


def _usb(path: Path, usb: UsbDevice) -> Iterator[Obstacle]:
    """QEMU waits for a device that is named by what it is, or by its port; one with an address must be there."""
    found = usb_nodes(usb)
    if not found and usb.address is not None:
        yield Obstacle(
            path, f"there is no USB device {usb.bus}:{usb.address}; `lsusb` shows those that there are"
        )
    elif not found:
        yield Obstacle(path, "it is not plugged in; the guest gets it when it comes", fatal=False)
    for node in found:
        if not os.access(node, os.R_OK | os.W_OK):
            yield Obstacle(
                path, f"{node} may not be opened by this user; a udev rule can give it to the user"
            )


def usb_nodes(usb: UsbDevice) -> list[File]:
    """The files by which a device that is plugged in now is opened; several, if several are as it is described."""
    return [
        DEV / "bus/usb" / _text(at / "busnum").zfill(3) / _text(at / "devnum").zfill(3)
        for at in _usb_devices()
        if _matches(at, usb)
    ]


def _usb_devices() -> list[File]:
    """The devices, without their interfaces (``1-1:1.0``)."""
    try:
        return [at for at in sorted((SYS / "bus/usb/devices").iterdir()) if (at / "devnum").exists()]
    except OSError:
        return []


def _matches(at: File, usb: UsbDevice) -> bool:
    wanted = {
        "idVendor": usb.vendor,
        "idProduct": usb.product,
        "busnum": usb.bus,
        "devpath": usb.port,
        "devnum": usb.address,
    }
    return all(value is None or _text(at / file) == str(value) for file, value in wanted.items())


def _pci(name: str, pci: PciDevice) -> Iterator[Obstacle]:
    if pci.rom_file is not None:
        yield from unusable(("pci", name, "rom-file"), pci.rom_file, REGULAR)
    at = _sysfs(pci)
    if pci.mdev is not None:
        if not at.exists():
            yield Obstacle(
                ("pci", name, "mdev"), f"there is no {at}; `mdevctl list` shows those that there are"
            )
            return
        yield from _group(("pci", name, "mdev"), at)
    elif pci.full_address is not None:
        yield from _host_device(("pci", name, "host"), at)


def _sysfs(pci: PciDevice) -> File:
    """Where the kernel shows the device, or would."""
    return SYS / (f"bus/mdev/devices/{pci.mdev}" if pci.mdev else f"bus/pci/devices/{pci.full_address}")


def _host_device(path: Path, at: File) -> Iterator[Obstacle]:
    address = at.name
    if not at.exists():
        yield Obstacle(path, f"there is no PCI device {address}; `lspci -D` shows those that there are")
        return
    driver = _driver(at)
    if driver != VFIO:
        held = f"is bound to the driver {driver}" if driver else "is bound to no driver"
        yield Obstacle(
            path, f"{address} {held}; `driverctl set-override {address} {VFIO}` binds it to {VFIO}"
        )
        return
    for other in sorted((at / "iommu_group/devices").glob("*")):
        if (driver := _driver(other)) and driver not in HARMLESS:
            told = (
                f"{address} shares its IOMMU group with {other.name}, which is bound to the driver {driver}"
            )
            yield Obstacle(path, f"{told}; a group is given away whole, so bind that to {VFIO} as well")
    yield from _group(path, at)


def vfio_node(pci: PciDevice) -> File | None:
    """The file by which QEMU opens the device's group; None if it has none."""
    at = _sysfs(pci)
    return _group_node(at) if (at / "iommu_group").exists() else None


def _group_node(at: File) -> File:
    return DEV / "vfio" / (at / "iommu_group").resolve().name


def _group(path: Path, at: File) -> Iterator[Obstacle]:
    """The file by which the kernel gives a group of devices to a process."""
    if not (at / "iommu_group").exists():
        told = "has no IOMMU group: the IOMMU is off in the firmware, or on the kernel's command line (intel_iommu=on)"
        yield Obstacle(path, f"{at.name} {told}")
        return
    node = _group_node(at)
    if not os.access(node, os.R_OK | os.W_OK):
        yield Obstacle(path, f"{node} may not be opened by this user; a udev rule can give it to the user")


def _driver(at: File) -> str | None:
    return (at / "driver").resolve().name if (at / "driver").exists() else None


def _memory(plan: Plan) -> Iterator[Obstacle]:
    """A device of the host reaches the guest's memory by itself, so none of it may ever be elsewhere."""
    spec = plan.spec
    path: Path = ("memory", "lock") if spec.memory.lock else ("pci", next(iter(spec.pci), ""))
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if not (spec.memory.lock or spec.pci) or limit == resource.RLIM_INFINITY:
        return
    if plan.account is None and _may_lock_all():
        return
    if limit < spec.memory.size:
        told = f"all of the guest's memory ({spec.memory.size}) is locked, and {Size(limit)} is this user's limit"
        yield Obstacle(path, f"{told}: raise LimitMEMLOCK= in the daemon's unit, or `ulimit -l`")


def _may_lock_all() -> bool:
    """Whether limits do not count for this process, and for a QEMU that it starts as the same user."""
    for line in _text(STATUS).splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_IPC_LOCK & 1)
    return False


def _text(file: File) -> str:
    """What a file of the kernel says, nothing if it cannot be read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""

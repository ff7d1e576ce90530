from __future__ import annotations

import pytest

from qsup.argv.build import build
from qsup.argv.invocation import LaunchContext
from qsup.errors import SpecError
from qsup.spec.base import HostPath
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.disk import Aio, Cdrom, CdromBus, DiskBus
from qsup.spec.tables.machine import Accel, Iommu, Machine, UsbController
from qsup.spec.tables.memory import Memory, MemoryBackend
from qsup.spec.tables.nic import Nic, NicModel, NicType
from qsup.spec.tables.numa import Numa
from qsup.spec.tables.serial import Serial
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT, KVM, built, disk, guest

IMPOSSIBLE = {
    "memory is no whole number of MiB": (
        guest(memory=Memory(size=Size(1 << 20 | 1))),
        "memory.size is 1048577 B",
    ),
    "no memory": (guest(memory=Memory(size=Size(0))), "at least one"),
    "cpu model with features": (guest(cpu=Cpu(model="max,-avx")), "features go into cpu.features"),
    "feature that is two": (guest(cpu=Cpu(features={"avx=on,+sse": True})), "no feature has a comma"),
    "vCPUs that make up no topology": (
        guest(cpu=Cpu(count=3, threads=2)),
        "cpu: 3 vCPUs cannot be made of 2",
    ),
    "file backend without a path": (guest(memory=Memory(backend=MemoryBackend.FILE)), "needs `path`"),
    "NUMA node of no set of vCPUs": (guest(numa={"a": Numa(cpus="2-1")}), "numa.a: .*backwards"),
    "Intel IOMMU on pc": (
        guest(machine=Machine(type="pc", iommu=Iommu.INTEL)),
        'machine.iommu = "intel" is for q35',
    ),
    "microvm with an IOMMU": (
        guest(machine=Machine(type="microvm", iommu=Iommu.VIRTIO)),
        "no PCI bus for virtio-iommu-pci",
    ),
    "microvm with NUMA nodes": (
        guest(machine=Machine(type="microvm"), numa={"a": Numa()}),
        "a microvm has no NUMA nodes",
    ),
    "microvm with slots for memory": (
        guest(machine=Machine(type="microvm"), memory=Memory(max=Size(1 << 40), slots=1)),
        "nothing can be plugged into a microvm",
    ),
    "unknown boot device": (guest(boot=Boot(order=("root",))), 'no disk, cdrom or nic has the id "root"'),
    "ambiguous boot device": (
        guest(disk={"a": disk()}, nic={"a": Nic()}, boot=Boot(order=("a",))),
        'several devices have the id "a"',
    ),
    "boot device twice": (guest(disk={"a": disk()}, boot=Boot(order=("a", "a"))), '"a" stands in it twice'),
    "initrd without a kernel": (guest(boot=Boot(initrd=HostPath("/i"))), "are for boot.kernel"),
    "read-only SATA disk": (
        guest(disk={"a": disk(bus=DiskBus.SATA, read_only=True)}),
        'disk.a.read-only: a disk on bus = "sata" cannot',
    ),
    "native I/O with a page cache": (
        guest(disk={"a": disk(aio=Aio.NATIVE)}),
        'disk.a.aio: "native" needs cache',
    ),
    "too many virtio disks": (
        guest(disk={f"d{i}": disk() for i in range(24)}),
        "room for 23 virtio-blk and nvme",
    ),
    "too many NICs": (guest(nic={f"n{i}": Nic() for i in range(9)}), "room for 8 NICs"),
    "too many SATA drives on q35": (
        guest(cdrom={f"c{i}": Cdrom() for i in range(7)}),
        "room for 6 SATA drives",
    ),
    "too many IDE drives on pc": (
        guest(machine=Machine(type="pc"), cdrom={f"c{i}": Cdrom() for i in range(5)}),
        "room for 4 IDE drives",
    ),
    "too many serial ports": (guest(serial={f"s{i}": Serial() for i in range(5)}), "a guest can have 4"),
    "tap without an interface": (guest(nic={"a": Nic(type=NicType.TAP)}), "nic.a: .* needs `interface`"),
    "bridge without a name": (guest(nic={"a": Nic(type=NicType.BRIDGE)}), "nic.a: .* needs `bridge`"),
    "socket that leads nowhere": (
        guest(nic={"a": Nic(type=NicType.SOCKET)}),
        "nic.a: .* one of `listen`, `connect` and `multicast`",
    ),
    "vhost-user without a socket": (
        guest(nic={"a": Nic(type=NicType.VHOST_USER)}),
        "nic.a: .* needs `socket`",
    ),
    "vhost-user with a real card": (
        guest(nic={"a": Nic(type=NicType.VHOST_USER, socket=HostPath("/s"), model=NicModel.E1000)}),
        'nic.a: type = "vhost-user" needs model = "virtio-net"',
    ),
    "a real card with an MTU": (
        guest(nic={"a": Nic(model=NicModel.E1000, mtu=9000)}),
        'nic.a: only model = "virtio-net" has `mtu` and `queues`',
    ),
    "microvm with an IDE disk": (
        guest(machine=Machine(type="microvm"), disk={"a": disk(bus=DiskBus.IDE)}),
        'disk-a: a microvm has no "ide"; write bus = "virtio-scsi"',
    ),
    "IDE on q35": (guest(disk={"a": disk(bus=DiskBus.IDE)}), 'has no IDE; write bus = "sata"'),
    "CD-ROM on IDE on q35": (guest(cdrom={"a": Cdrom(bus=CdromBus.IDE)}), 'has no IDE; write bus = "sata"'),
    "too many SATA drives on pc": (
        guest(machine=Machine(type="pc"), cdrom={f"c{i}": Cdrom(bus=CdromBus.SATA) for i in range(7)}),
        "room for 6 SATA drives",
    ),
    "too many USB drives": (
        guest(disk={f"d{i}": disk(bus=DiskBus.USB) for i in range(16)}),
        "there are 16 USB devices; the controller has room for 15",
    ),
    "too many USB drives on an ehci": (
        guest(
            machine=Machine(usb=UsbController.EHCI), disk={f"d{i}": disk(bus=DiskBus.USB) for i in range(7)}
        ),
        "there are 7 USB devices; the controller has room for 6",
    ),
    "too many USB drives on a uhci": (
        guest(
            machine=Machine(usb=UsbController.UHCI), disk={f"d{i}": disk(bus=DiskBus.USB) for i in range(10)}
        ),
        "there are 10 USB devices; the controller has room for 9",
    ),
    "a USB drive without USB": (
        guest(machine=Machine(usb=UsbController.NONE), disk={"a": disk(bus=DiskBus.USB)}),
        "there are 1 USB devices; the controller has room for 0",
    ),
    "SCSI disks that differ": (
        guest(
            disk={"a": disk(bus=DiskBus.VIRTIO_SCSI, queues=2), "b": disk(bus=DiskBus.VIRTIO_SCSI, queues=3)}
        ),
        "disk.b.queues: all disks on .* share one controller, and disk.a.queues is 2",
    ),
    "microvm with NVMe": (
        guest(machine=Machine(type="microvm"), disk={"a": disk(bus=DiskBus.NVME)}),
        'disk-a: a microvm has no "nvme"',
    ),
    "microvm with a real card": (
        guest(machine=Machine(type="microvm"), nic={"a": Nic(model=NicModel.E1000)}),
        "no PCI bus for e1000",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_qemu_could_start_is_refused_with_the_guests_name_and_the_reason(case: str) -> None:
    spec, reason = IMPOSSIBLE[case]
    with pytest.raises(SpecError, match=f"^web1: .*{reason}"):
        build(spec, KVM, CONTEXT)


def test_a_run_directory_that_qemu_would_expand_is_refused_where_a_log_goes_there() -> None:
    percent = LaunchContext(CONTEXT.token, "/run/%d", "/s")
    built(context=percent)
    with pytest.raises(SpecError, match="it would expand the '%'"):
        built(context=percent, machine=Machine(accel=Accel.TCG))

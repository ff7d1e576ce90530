from __future__ import annotations

import pytest

from qsup.argv.build import build
from qsup.argv.invocation import LaunchContext
from qsup.errors import SpecError
from qsup.spec.base import HostPath
from qsup.spec.devices import Aio, Cdrom, DiskBus, Display, DisplayType, Nic, NicModel, NicType, Serial
from qsup.spec.model import Accel, Boot, Cpu, Machine, Memory
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT, KVM, built, disk, guest
from tests.unit.argv_parsing import values

IMPOSSIBLE = {
    "memory is no whole number of MiB": (
        guest(memory=Memory(size=Size(1 << 20 | 1))),
        "memory.size is 1048577 B",
    ),
    "no memory": (guest(memory=Memory(size=Size(0))), "at least one"),
    "cpu model with features": (guest(cpu=Cpu(model="max,-avx")), "features go into qemu.args"),
    "unknown boot device": (guest(boot=Boot(order=("root",))), 'no disk, cdrom or nic has the id "root"'),
    "ambiguous boot device": (
        guest(disk={"a": disk()}, nic={"a": Nic()}, boot=Boot(order=("a",))),
        'several devices have the id "a"',
    ),
    "boot device twice": (guest(disk={"a": disk()}, boot=Boot(order=("a", "a"))), '"a" stands in it twice'),
    "initrd without a kernel": (guest(boot=Boot(initrd=HostPath("/i"))), "are for boot.kernel"),
    "read-only IDE disk": (
        guest(disk={"a": disk(bus=DiskBus.IDE, read_only=True)}),
        "disk.a: an IDE disk cannot",
    ),
    "native I/O with a page cache": (guest(disk={"a": disk(aio=Aio.NATIVE)}), 'disk.a: aio = "native" needs'),
    "too many virtio disks": (
        guest(disk={f"d{i}": disk() for i in range(16)}),
        "room for 15 virtio-blk and nvme",
    ),
    "too many NICs": (guest(nic={f"n{i}": Nic() for i in range(9)}), "room for 8 NICs"),
    "too many IDE drives on q35": (
        guest(cdrom={f"c{i}": Cdrom() for i in range(7)}),
        "room for 6 IDE drives",
    ),
    "too many IDE drives on pc": (
        guest(machine=Machine(type="pc"), cdrom={f"c{i}": Cdrom() for i in range(5)}),
        "room for 4 IDE drives",
    ),
    "too many serial ports": (guest(serial={f"s{i}": Serial() for i in range(5)}), "a guest can have 4"),
    "tap without an interface": (guest(nic={"a": Nic(type=NicType.TAP)}), "nic.a: .* needs `interface`"),
    "bridge without a name": (guest(nic={"a": Nic(type=NicType.BRIDGE)}), "nic.a: .* needs `bridge`"),
    "helper that would be a shell's": (
        guest(nic={"a": Nic(type=NicType.BRIDGE, bridge="br0", helper=HostPath("/bin/true; reboot"))}),
        "through a shell",
    ),
    "microvm with an IDE disk": (
        guest(machine=Machine(type="microvm"), disk={"a": disk(bus=DiskBus.IDE)}),
        "a microvm has no IDE bus",
    ),
    "microvm with NVMe": (
        guest(machine=Machine(type="microvm"), disk={"a": disk(bus=DiskBus.NVME)}),
        "no PCI bus for nvme",
    ),
    "microvm with a real card": (
        guest(machine=Machine(type="microvm"), nic={"a": Nic(model=NicModel.E1000)}),
        "no PCI bus for e1000",
    ),
    "microvm with a screen": (
        guest(machine=Machine(type="microvm"), display=Display(type=DisplayType.VNC)),
        "no PCI bus for VGA",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_qemu_could_start_is_refused_with_the_guests_name_and_the_reason(case: str) -> None:
    spec, reason = IMPOSSIBLE[case]
    with pytest.raises(SpecError, match=f"^web1: .*{reason}"):
        build(spec, KVM, CONTEXT)


def test_a_vnc_socket_may_have_a_path_of_107_bytes_and_no_more() -> None:
    longest = LaunchContext(CONTEXT.token, "/" + "é" * 48 + "r")
    assert values(built(context=longest, display=Display(type=DisplayType.VNC)), "-vnc")
    too_long = LaunchContext(CONTEXT.token, longest.run_dir + "r")
    with pytest.raises(SpecError, match="has 108 bytes, and 107 are the most"):
        built(context=too_long, display=Display(type=DisplayType.VNC))


def test_a_run_directory_that_qemu_would_expand_is_refused_where_a_log_goes_there() -> None:
    percent = LaunchContext(CONTEXT.token, "/run/%d")
    built(context=percent)
    with pytest.raises(SpecError, match="it would expand the '%'"):
        built(context=percent, machine=Machine(accel=Accel.TCG))

"""What disks come to on the command line, beside what the golden files show."""

from __future__ import annotations

import pytest

from qsup.argv.facts import HostFacts
from qsup.argv.files import CreateImage
from qsup.argv.invocation import Invocation
from qsup.argv.usb import needs_usb
from qsup.spec.base import HostPath
from qsup.spec.tables.disk import Aio, Cache, Cdrom, CdromBus, DiskBus, DiskFormat
from qsup.spec.tables.display import Display, DisplayType
from qsup.spec.tables.machine import Machine
from qsup.spec.tables.throttle import Throttle
from qsup.units import Duration, Size
from tests.unit.argv_guests import KVM, built, disk, guest
from tests.unit.argv_parsing import devices, values

WITHOUT = {"BlockdevAioOptions": frozenset({"threads", "native"})}


def with_io_uring(facts: HostFacts) -> Invocation:
    return built(facts, disk={"a": disk(aio=Aio.IO_URING), "b": disk("/b", aio=Aio.NATIVE, cache=Cache.NONE)})


@pytest.mark.parametrize(
    ("facts", "lacks"),
    [
        (HostFacts("/q", kvm=True, members=WITHOUT), "this QEMU"),
        (HostFacts("/q", kvm=True, io_uring=False), "the kernel of this host"),
    ],
)
def test_io_uring_falls_back_to_threads_and_says_so(facts: HostFacts, lacks: str) -> None:
    invocation = with_io_uring(facts)
    assert [node["aio"] for node in values(invocation, "-blockdev") if "aio" in node] == ["threads", "native"]
    assert invocation.notes == (f'disk.a.aio: {lacks} cannot do "io_uring"; "threads" is used instead',)


def test_io_uring_is_used_where_it_is() -> None:
    invocation = with_io_uring(KVM)
    assert [node["aio"] for node in values(invocation, "-blockdev") if "aio" in node] == [
        "io_uring",
        "native",
    ]
    assert invocation.notes == ()


def test_images_that_may_have_to_be_made_are_listed() -> None:
    size = Size.parse("20 GiB")
    made = built(
        disk={
            "there": disk(),
            "new": disk("/new", create=size, format=DiskFormat.RAW),
            "clone": disk("/clone", base=HostPath("/b"), base_format=DiskFormat.RAW),
        }
    )
    assert made.files == (
        CreateImage("/new", "raw", int(size), None, None, ("disk", "new")),
        CreateImage("/clone", "qcow2", None, "/b", "raw", ("disk", "clone")),
    )


def test_a_usb_controller_is_there_when_something_sits_on_it() -> None:
    assert not needs_usb(guest(disk={"a": disk()}, cdrom={"a": Cdrom()}))
    assert needs_usb(guest(disk={"a": disk(bus=DiskBus.USB)}))
    assert needs_usb(guest(cdrom={"a": Cdrom(bus=CdromBus.USB)}))
    assert needs_usb(guest(display=Display(type=DisplayType.VNC)))


@pytest.mark.parametrize(("count", "ports"), [(1, None), (4, None), (5, 5), (15, 15)])
def test_the_controller_has_a_port_for_each_device(count: int, ports: int | None) -> None:
    found = devices(
        built(disk={f"d{number}": disk(f"/{number}", bus=DiskBus.USB) for number in range(count)})
    )
    assert found["usb"].get("p2") == found["usb"].get("p3") == ports
    assert [found[f"disk-d{number}"]["port"] for number in range(count)] == [str(i + 1) for i in range(count)]


@pytest.mark.parametrize(("machine", "driver"), [("q35", "ide-cd"), ("pc", "ide-cd"), ("microvm", "scsi-cd")])
def test_a_cdrom_drive_sits_where_the_machine_has_its_own(machine: str, driver: str) -> None:
    found = devices(built(machine=Machine(type=machine), cdrom={"a": Cdrom()}))
    assert found["cdrom-a"]["driver"] == driver
    assert set(found) == {"cdrom-a"} | ({"scsi"} if machine == "microvm" else set())


def test_the_first_twenty_characters_of_a_long_serial_number_identify_a_scsi_disk() -> None:
    serial = "0123456789" * 3
    found = devices(
        built(
            disk={"a": disk(bus=DiskBus.VIRTIO_SCSI, serial=serial), "b": disk("/b", bus=DiskBus.VIRTIO_SCSI)}
        )
    )
    assert (found["disk-a"]["serial"], found["disk-a"]["device_id"]) == (serial, serial[:20])
    assert "device_id" not in found["disk-b"]


def test_limits_are_bytes_operations_and_seconds() -> None:
    throttle = Throttle(
        bps_total=Size.parse("1 MiB"),
        bps_total_max=Size.parse("2 MiB"),
        bps_total_max_length=Duration.parse("1 min"),
        iops_total=5,
    )
    (group,) = values(built(throttle={"slow": throttle}), "-object")
    assert group["limits"] == {
        "bps-total": 1 << 20, "bps-total-max": 2 << 20, "bps-total-max-length": 60, "iops-total": 5,
    }  # fmt: skip

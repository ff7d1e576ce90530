"""What stands against a start on this host: real files, real ports."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from qsup.argv.invocation import HostFacts
from qsup.errors import LaunchError
from qsup.preflight import preflight
from qsup.probe import kvm_trouble, probe
from qsup.spec.base import HostPath
from qsup.spec.devices import Cdrom, Disk, DiskFormat, Nic, NicType, Rng
from qsup.spec.model import Accel, Boot, GuestSpec, Machine
from tests.conftest import kvm_problem

FACTS = HostFacts(binary="/usr/bin/qemu-system-x86_64", kvm=True)


def with_disk(path: Path, format_: DiskFormat) -> GuestSpec:
    return GuestSpec(name="web1", disk={"root": Disk(file=HostPath(path), format=format_)})


def test_a_guest_that_can_start_has_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(b"\0" * 512)
    assert preflight(with_disk(tmp_path / "a.img", DiskFormat.RAW), FACTS) == []


@pytest.mark.parametrize(
    ("content", "format_", "told"),
    [
        (None, DiskFormat.RAW, "disk.root.file: {} does not exist"),
        (b"raw data", DiskFormat.QCOW2, 'disk.root.format: {} is no qcow2 image; write format = "raw"'),
        (b"QFI\xfb\0\0\0\3", DiskFormat.RAW, 'disk.root.format: {} is a qcow2 image; write format = "qcow2"'),
    ],
)
def test_a_missing_or_mistaken_image_is_told(
    content: bytes | None, format_: DiskFormat, told: str, tmp_path: Path
) -> None:
    image = tmp_path / "a.img"
    if content is not None:
        image.write_bytes(content)
    (obstacle,) = preflight(with_disk(image, format_), FACTS)
    assert obstacle.startswith(told.format(image))


def test_kernel_initrd_and_iso_are_looked_at_as_well(tmp_path: Path) -> None:
    spec = GuestSpec(
        name="web1",
        boot=Boot(kernel=HostPath("/nonexistent"), initrd=HostPath(tmp_path)),
        cdrom={"cd": Cdrom(file=HostPath("/nonexistent.iso")), "empty": Cdrom()},
    )
    keys = [obstacle.split(":")[0] for obstacle in preflight(spec, FACTS)]
    assert keys == ["boot.kernel", "boot.initrd", "cdrom.cd.file"]


def test_a_fifo_in_the_place_of_an_image_is_told_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.img")
    assert preflight(with_disk(tmp_path / "a.img", DiskFormat.RAW), FACTS) == [
        f"disk.root.file: {tmp_path}/a.img is no regular file or block device"
    ]


def test_an_image_that_cannot_be_written_is_told_unless_it_is_read_only() -> None:
    # Even root may not write here, as the kernel has no such operation.
    image = HostPath("/proc/sys/kernel/ostype")
    disk = Disk(file=image, format=DiskFormat.RAW)
    assert preflight(GuestSpec(name="web1", disk={"root": disk}), FACTS) == [
        f"disk.root.file: {image} cannot be written by this user; make it writable, or write read-only = true"
    ]
    disk = msgspec.structs.replace(disk, read_only=True)
    assert preflight(GuestSpec(name="web1", disk={"root": disk}), FACTS) == []


def test_an_image_that_cannot_be_read_is_told() -> None:
    iso = HostPath("/proc/sys/vm/drop_caches")
    spec = GuestSpec(name="web1", cdrom={"cd": Cdrom(file=iso)})
    assert preflight(spec, FACTS) == [f"cdrom.cd.file: {iso} cannot be read by this user"]


def test_the_source_of_random_numbers_must_be_there(tmp_path: Path) -> None:
    spec = GuestSpec(name="web1", rng=Rng(enabled=True, source=HostPath(tmp_path / "hwrng")))
    assert preflight(spec, FACTS) == [f"rng.source: {tmp_path}/hwrng does not exist"]
    assert preflight(GuestSpec(name="web1", rng=Rng(enabled=True)), FACTS) == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_taken_port_is_told(protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        spec = GuestSpec(name="web1", nic={"lan": Nic(forward=(f"{protocol}:127.0.0.1:{port}:80",))})
        (obstacle,) = preflight(spec, FACTS)
        assert obstacle == f"nic.lan.forward: {protocol} port {port} on 127.0.0.1: Address already in use"
    assert preflight(spec, FACTS) == []


def test_a_missing_interface_is_told() -> None:
    spec = GuestSpec(
        name="web1",
        nic={"a": Nic(type=NicType.TAP, interface="nosuch0"), "b": Nic(type=NicType.BRIDGE, bridge="lo")},
    )
    (obstacle,) = preflight(spec, FACTS)
    assert obstacle.startswith("nic.a.interface: there is no interface nosuch0")


def test_kvm_that_does_not_work_is_told_with_the_way_out() -> None:
    spec = GuestSpec(name="web1", machine=Machine(accel=Accel.KVM))
    (obstacle,) = preflight(spec, HostFacts(binary="/q", kvm=False))
    assert 'write accel = "tcg" or "auto"' in obstacle


def test_the_probe_agrees_with_the_kernel(qemu_binary: str) -> None:
    assert probe(qemu_binary).kvm == (kvm_problem() is None)
    assert (kvm_trouble() is None) == (kvm_problem() is None)


def test_each_way_in_which_kvm_fails_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    monkeypatch.setattr("qsup.probe.KVM", str(device))
    assert "does not exist: the CPU's virtualisation is off" in (kvm_trouble() or "")
    device.write_text("")
    assert kvm_trouble() == f"{device} does not answer: Inappropriate ioctl for device"
    device.unlink()
    device.mkdir()
    assert kvm_trouble() == f"{device} cannot be opened: Is a directory"


def test_a_missing_binary_is_told_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(
        LaunchError, match=r"/nonexistent does not exist; install QEMU .*qemu-binary in qsup.toml"
    ):
        probe("/nonexistent")
    (tmp_path / "qemu").write_text("")
    with pytest.raises(LaunchError, match="is not an executable file"):
        probe(str(tmp_path / "qemu"))

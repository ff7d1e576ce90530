"""What stands against a start on this host: real files, real ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from qsup import clock
from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.errors import LaunchError
from qsup.preflight.obstacle import Plan
from qsup.preflight.preflight import preflight
from qsup.probe.kvm import kvm_trouble
from qsup.probe.prober import Prober
from qsup.probe.uring import io_uring
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.disk import Cdrom, Disk, DiskFormat
from qsup.spec.tables.fw_cfg import FwCfg
from qsup.spec.tables.machine import Accel, Machine
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.parallel import Parallel
from qsup.spec.tables.rng import Rng
from qsup.units import Size
from tests.conftest import kvm_problem
from tests.unit.argv_guests import CONTEXT

FACTS = HostFacts(binary="/usr/bin/qemu-system-x86_64", kvm=True)


def obstacles(spec: GuestSpec, facts: HostFacts = FACTS) -> list[str]:
    return [str(obstacle) for obstacle in preflight(Plan(spec, facts, build(spec, facts, CONTEXT)))]


def with_disk(path: Path, format_: DiskFormat) -> GuestSpec:
    return GuestSpec(name="web1", disk={"root": Disk(file=HostPath(path), format=format_)})


def test_a_guest_that_can_start_has_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(b"\0" * 512)
    assert obstacles(with_disk(tmp_path / "a.img", DiskFormat.RAW)) == []


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
    (obstacle,) = obstacles(with_disk(image, format_))
    assert obstacle.startswith(told.format(image))


def test_an_image_that_is_to_be_made_needs_a_directory_and_its_base(tmp_path: Path) -> None:
    disk = Disk(file=HostPath(tmp_path / "a.img"), create=Size.parse("1 MiB"), format=DiskFormat.RAW)
    spec = GuestSpec(name="web1", disk={"root": disk})
    assert obstacles(spec) == []
    (tmp_path / "base").write_bytes(b"raw data")
    above = msgspec.structs.replace(disk, format=DiskFormat.QCOW2, base=HostPath(tmp_path / "base"))
    assert obstacles(msgspec.structs.replace(spec, disk={"root": above})) == [
        f'disk.root.base-format: {tmp_path}/base is no qcow2 image; write base-format = "raw" if it is a raw one'
    ]
    gone = msgspec.structs.replace(above, file=HostPath(tmp_path / "no/a"), base=HostPath(tmp_path / "no/b"))
    assert obstacles(msgspec.structs.replace(spec, disk={"root": gone})) == [
        f"disk.root.file: {tmp_path}/no/a cannot be made: there is no directory {tmp_path}/no",
        f"disk.root.base: {tmp_path}/no/b does not exist",
    ]


def test_an_image_that_is_there_is_looked_at_though_it_could_be_made(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(b"raw data")
    disk = Disk(file=HostPath(tmp_path / "a.img"), create=Size.parse("1 MiB"), base=HostPath("/nonexistent"))
    (obstacle,) = obstacles(GuestSpec(name="web1", disk={"root": disk}))
    assert obstacle.startswith(f"disk.root.format: {tmp_path}/a.img is no qcow2 image")


def test_io_uring_is_there_if_qemu_can_use_it(tmp_path: Path) -> None:
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed (Debian: qemu-utils)")
    (tmp_path / "a.img").write_bytes(b"\0" * 512)
    tried = subprocess.run(["qemu-io", "-f", "raw", "-i", "io_uring", "-c", "read 0 512", tmp_path / "a.img"])
    assert io_uring() == (tried.returncode == 0)


def test_kernel_initrd_and_iso_are_looked_at_as_well(tmp_path: Path) -> None:
    spec = GuestSpec(
        name="web1",
        boot=Boot(kernel=HostPath("/nonexistent"), initrd=HostPath(tmp_path)),
        cdrom={"cd": Cdrom(file=HostPath("/nonexistent.iso")), "empty": Cdrom()},
    )
    keys = [obstacle.split(":")[0] for obstacle in obstacles(spec)]
    assert keys == ["boot.kernel", "boot.initrd", "cdrom.cd.file"]


def test_files_for_the_guest_and_parallel_ports_are_looked_at_as_well(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    spec = GuestSpec(
        name="web1",
        fw_cfg={"a": FwCfg(file=HostPath(tmp_path / "a")), "b": FwCfg(file=HostPath("/nonexistent"))},
        credential={"t": Credential(text="t"), "f": Credential(file=HostPath("/nonexistent"))},
        parallel={"p": Parallel(device=HostPath(tmp_path / "a")), "q": Parallel(file=HostPath("/p"))},
    )
    assert obstacles(spec) == [
        "fw-cfg.b.file: /nonexistent does not exist",
        "credential.f.file: /nonexistent does not exist",
        f"parallel.p.device: {tmp_path}/a is no character device",
    ]


def test_a_fifo_in_the_place_of_an_image_is_told_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.img")
    assert obstacles(with_disk(tmp_path / "a.img", DiskFormat.RAW)) == [
        f"disk.root.file: {tmp_path}/a.img is no regular file or block device"
    ]


def test_an_image_that_cannot_be_written_is_told_unless_it_is_read_only() -> None:
    # Even root may not write here, as the kernel has no such operation.
    image = HostPath("/proc/sys/kernel/ostype")
    disk = Disk(file=image, format=DiskFormat.RAW)
    assert obstacles(GuestSpec(name="web1", disk={"root": disk})) == [
        f"disk.root.file: {image} cannot be written by this user; make it writable, or write read-only = true"
    ]
    disk = msgspec.structs.replace(disk, read_only=True)
    assert obstacles(GuestSpec(name="web1", disk={"root": disk})) == []


def test_an_image_that_cannot_be_read_is_told() -> None:
    iso = HostPath("/proc/sys/vm/drop_caches")
    spec = GuestSpec(name="web1", cdrom={"cd": Cdrom(file=iso)})
    assert obstacles(spec) == [f"cdrom.cd.file: {iso} cannot be read by this user"]


def test_the_source_of_random_numbers_must_be_there(tmp_path: Path) -> None:
    spec = GuestSpec(name="web1", rng=Rng(enabled=True, source=HostPath(tmp_path / "hwrng")))
    assert obstacles(spec) == [f"rng.source: {tmp_path}/hwrng does not exist"]
    assert obstacles(GuestSpec(name="web1", rng=Rng(enabled=True))) == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_taken_port_is_told(protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        spec = GuestSpec(name="web1", nic={"lan": Nic(forward=(f"{protocol}:127.0.0.1:{port}:80",))})
        (obstacle,) = obstacles(spec)
        assert obstacle == f"nic.lan.forward[0]: {protocol} port {port} on 127.0.0.1: Address already in use"
    assert obstacles(spec) == []


def test_a_missing_interface_is_told() -> None:
    spec = GuestSpec(
        name="web1",
        nic={"a": Nic(type=NicType.TAP, interface="nosuch0"), "b": Nic(type=NicType.BRIDGE, bridge="lo")},
    )
    missing, mistaken = obstacles(spec)
    assert missing.startswith("nic.a.interface: there is no interface nosuch0")
    assert mistaken.startswith("nic.b.bridge: lo is no bridge")


def test_kvm_that_does_not_work_is_told_with_the_way_out() -> None:
    spec = GuestSpec(name="web1", machine=Machine(accel=Accel.KVM))
    (obstacle,) = obstacles(spec, HostFacts(binary="/q", kvm=False))
    assert 'write accel = "tcg" or "auto"' in obstacle


def test_the_probe_agrees_with_the_kernel(qemu_binary: str) -> None:
    assert Prober(None, clock.boot_id()).facts(qemu_binary).kvm == (kvm_problem() is None)
    assert (kvm_trouble() is None) == (kvm_problem() is None)


def test_each_way_in_which_kvm_fails_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    monkeypatch.setattr("qsup.probe.kvm.KVM", str(device))
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
        Prober(None, "").facts("/nonexistent")
    (tmp_path / "qemu").write_text("")
    with pytest.raises(LaunchError, match="is not an executable file"):
        Prober(None, "").facts(str(tmp_path / "qemu"))

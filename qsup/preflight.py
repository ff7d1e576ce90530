"""What stands against a start on this host, seen before QEMU is bothered: each finding says what to do.

QEMU would find most of it as well, later and in its own words; some of it (an image of another format) it would
not find at all.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING, Final, TypeAlias

from qsup.probe import kvm_trouble
from qsup.spec.devices import DiskFormat, NicType
from qsup.spec.model import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.invocation import HostFacts
    from qsup.spec.devices import Disk, Nic
    from qsup.spec.model import GuestSpec

QCOW2_MAGIC: Final = b"QFI\xfb"

Kinds: TypeAlias = dict[int, str]
_KERNELS: Final[Kinds] = {stat.S_IFREG: "regular file"}
_IMAGES: Final[Kinds] = {stat.S_IFREG: "regular file", stat.S_IFBLK: "block device"}
_SOURCES: Final[Kinds] = {stat.S_IFREG: "regular file", stat.S_IFCHR: "character device"}


def preflight(spec: GuestSpec, facts: HostFacts) -> list[str]:
    """All obstacles, one sentence each, led by the key that they are about."""
    return [*_accel(spec, facts), *_files(spec), *_network(spec)]


def _accel(spec: GuestSpec, facts: HostFacts) -> Iterator[str]:
    if spec.machine.accel is Accel.KVM and not facts.kvm:
        why = kvm_trouble() or "KVM does not work"
        yield f'machine.accel: {why}; or write accel = "tcg" or "auto"'


def _files(spec: GuestSpec) -> Iterator[str]:
    for key, path in (("boot.kernel", spec.boot.kernel), ("boot.initrd", spec.boot.initrd)):
        if path is not None:
            yield from _unusable(key, path, _KERNELS, write=False)
    if spec.rng.enabled:
        yield from _unusable("rng.source", spec.rng.source, _SOURCES, write=False)
    for name, cdrom in spec.cdrom.items():
        if cdrom.file is not None:
            yield from _unusable(f"cdrom.{name}.file", cdrom.file, _IMAGES, write=False)
    for name, disk in spec.disk.items():
        found = list(_unusable(f"disk.{name}.file", disk.file, _IMAGES, write=not disk.read_only))
        yield from found or _format(f"disk.{name}.format", disk)


def _unusable(key: str, path: str, kinds: Kinds, *, write: bool) -> Iterator[str]:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        yield f"{key}: {path} does not exist"
        return
    except OSError as error:
        yield f"{key}: {path}: {error.strerror}"
        return
    if stat.S_ISDIR(mode):
        yield f"{key}: {path} is a directory"
    elif stat.S_IFMT(mode) not in kinds:
        # Above all, nobody must open a FIFO: that waits for a writer.
        yield f"{key}: {path} is no {' or '.join(kinds.values())}"
    elif not os.access(path, os.R_OK):
        yield f"{key}: {path} cannot be read by this user"
    elif write and not os.access(path, os.W_OK):
        yield f"{key}: {path} cannot be written by this user; make it writable, or write read-only = true"


def _format(key: str, disk: Disk) -> Iterator[str]:
    """A qcow2 image taken for raw shows the guest its metadata; a raw one taken for qcow2 does not open."""
    try:
        with open(disk.file, "rb") as file:
            is_qcow2 = file.read(len(QCOW2_MAGIC)) == QCOW2_MAGIC
    except OSError as error:
        yield f"{key}: {disk.file}: {error.strerror}"
        return
    if disk.format is DiskFormat.QCOW2 and not is_qcow2:
        yield f'{key}: {disk.file} is no qcow2 image; write format = "raw" if it is a raw one'
    elif disk.format is DiskFormat.RAW and is_qcow2:
        yield f'{key}: {disk.file} is a qcow2 image; write format = "qcow2"'


def _network(spec: GuestSpec) -> Iterator[str]:
    for name, nic in spec.nic.items():
        for forward in nic.forward:
            yield from _port_taken(f"nic.{name}.forward", forward)
        yield from _interface_missing(name, nic)


def _port_taken(key: str, forward: str) -> Iterator[str]:
    protocol, address, port, _ = forward.split(":")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address or "0.0.0.0", int(port)))  # noqa: S104 - what the guest's file asks for
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as error:
            yield f"{key}: {protocol} port {port} on {address or 'any address'}: {error.strerror}"


def _interface_missing(name: str, nic: Nic) -> Iterator[str]:
    wanted = {NicType.TAP: nic.interface, NicType.BRIDGE: nic.bridge}.get(nic.type)
    if wanted is not None and not os.path.exists(f"/sys/class/net/{wanted}"):
        key = "interface" if nic.type is NicType.TAP else "bridge"
        yield f"nic.{name}.{key}: there is no interface {wanted}; `ip link` shows those that there are"

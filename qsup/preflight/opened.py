"""The files of this host that a guest's QEMU opens by itself, by their names, and what it does with each.

With them those of the helpers that run as QEMU's user.

What the supervisor opens for it (its sockets, its lock, its taps) is not among them, nor what everybody may use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.acl import ENTER, READ, WRITE
from qsup.argv.files import CopyFile, CreateImage
from qsup.argv.invocation import KVM, MADE, QEMU_LOG
from qsup.preflight.chain import backing_files
from qsup.preflight.devices import DEV, usb_nodes, vfio_node
from qsup.preflight.screen import DRI
from qsup.probe.vhost import VHOST_NET
from qsup.spec.nbd import parse
from qsup.spec.tables.machine import Accel
from qsup.spec.tables.nic import NicModel, NicType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path as File

    from qsup.preflight.obstacle import Plan
    from qsup.spec.model import GuestSpec

BOTH: Final = READ | WRITE
LIST: Final = READ | ENTER
FILL: Final = READ | WRITE | ENTER
"""What is done with a directory that is looked through, and with one in which files are made."""
TLS_FILES: Final = ("ca-cert.pem", "ca-crl.pem", "server-cert.pem", "server-key.pem", "dh-params.pem")
"""What QEMU looks for in a directory of credentials (QEMU: crypto/tlscredsx509.c)."""
PRIVATE: Final = ("/home", "/root", "/run/user", "/srv", "/tmp", "/var/tmp")  # noqa: S108
"""Where people and other programs keep what is no QEMU's business."""


class Opened(NamedTuple):
    """One file or directory, and the rights that QEMU needs to it."""

    path: str
    rights: int
    is_made: bool = False
    """Whether QEMU would make it where it is not there."""


def opened(plan: Plan, run_dir: File) -> Iterator[Opened]:
    """All of them; of what the guest's file names, also what is not there."""
    spec = plan.spec
    yield Opened(plan.made.binary, LIST)
    yield from _devices(plan)
    yield from _images(spec)
    yield from _made(plan, run_dir)
    for helper in plan.made.helpers:
        if helper.is_confined:
            yield Opened(helper.argv[0], LIST)
            if helper.directory is not None:
                yield Opened(helper.directory, FILL)
    for read in (
        *(spec.boot.kernel, spec.boot.initrd, spec.machine.firmware_code),
        *(item.file for item in spec.fw_cfg.values()),
        *(item.file for item in spec.credential.values()),
        *(pci.rom_file for pci in spec.pci.values()),
    ):
        if read is not None:
            yield Opened(read, READ)
    if spec.rng.enabled:
        yield Opened(spec.rng.source, READ)
    if spec.memory.path is not None:
        yield Opened(spec.memory.path, FILL if os.path.isdir(spec.memory.path) else BOTH)
    for nic in spec.nic.values():
        if nic.socket is not None:
            yield Opened(nic.socket, BOTH)
        if nic.tftp is not None:
            yield Opened(nic.tftp, LIST)
    for path in spec.qemu.files:
        yield Opened(path, FILL if os.path.isdir(path) else BOTH, is_made=True)
    yield from _screen(spec)
    yield from _ports(spec)


def emptied(files: Collection[str], spec: GuestSpec) -> list[str]:
    """The directories that QEMU may find empty, as nothing of the guest lies there: not its files, nor a share."""
    kept = [*files, *(share.path for share in spec.share.values())]
    kept += [os.path.realpath(path) for path in kept]
    return [
        directory
        for directory in PRIVATE
        if os.path.isdir(directory) and not any(path.startswith(f"{directory}/") for path in kept)
    ]


def _devices(plan: Plan) -> Iterator[Opened]:
    spec = plan.spec
    if plan.made.accel == Accel.KVM and not plan.made.devices:
        yield Opened(KVM, BOTH)
    if spec.vsock.enabled:
        yield Opened(str(DEV / "vhost-vsock"), BOTH)
    taps = [nic for nic in spec.nic.values() if nic.type is NicType.TAP]
    if any(nic.model is NicModel.VIRTIO_NET and nic.vhost is not False for nic in taps):
        yield Opened(VHOST_NET, BOTH)
    for usb in spec.usb.values():
        yield from (Opened(str(node), BOTH) for node in usb_nodes(usb))
    if spec.pci:
        yield Opened(str(DEV / "vfio/vfio"), BOTH)
    nodes = map(vfio_node, spec.pci.values())
    yield from (Opened(str(node), BOTH) for node in nodes if node is not None)


def _images(spec: GuestSpec) -> Iterator[Opened]:
    for disk in spec.disk.values():
        if disk.file is not None:
            yield Opened(disk.file, READ if disk.read_only else BOTH)
            yield from (Opened(file, READ) for file in backing_files(disk.file, disk.format))
        elif disk.nbd is not None and (socket := parse(disk.nbd).socket):
            yield Opened(socket, BOTH)
    for cdrom in spec.cdrom.values():
        if cdrom.file is not None:
            yield Opened(cdrom.file, READ)


def _made(plan: Plan, run_dir: File) -> Iterator[Opened]:
    """What a launch makes for QEMU, and where QEMU makes files itself."""
    for file in plan.made.files:
        yield Opened(file.path, BOTH if isinstance(file, CopyFile | CreateImage) else READ)
    yield Opened(str(run_dir / QEMU_LOG), BOTH)
    yield Opened(str(run_dir / MADE), FILL)


def _screen(spec: GuestSpec) -> Iterator[Opened]:
    display = spec.display
    if display.tls is not None:
        yield from (Opened(os.path.join(display.tls, name), READ) for name in TLS_FILES)
    if display.draws:
        nodes = map(str, DRI.glob("renderD*")) if display.render_node is None else [display.render_node]
        yield from (Opened(node, BOTH) for node in nodes)


def _ports(spec: GuestSpec) -> Iterator[Opened]:
    """Where parallel ports and the sound card lead to."""
    for parallel in spec.parallel.values():
        if parallel.device is not None:
            yield Opened(parallel.device, BOTH)
        if parallel.file is not None:
            yield Opened(parallel.file, BOTH, is_made=True)
    if spec.sound.file is not None:
        yield Opened(spec.sound.file, BOTH, is_made=True)
    if spec.sound.server is not None:
        yield Opened(spec.sound.server, BOTH)

"""Disks, CD-ROM drives, throttles and I/O threads: what a file may not say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsup.spec.nbd import Export, parse
from tests.unit.test_spec_load import configuration, problems

BAD = {
    "disk.a = {}": "disk.a.file: is missing; write file, or nbd for an export of an NBD server",
    "disk.a = { file = '/a', nbd = 'nbd://h' }": "disk.a.nbd: stands beside file; a disk has one of them",
    "disk.a = { nbd = 'http://h' }": 'disk.a.nbd: "http://h" is not allowed: write "nbd://HOST:PORT/EXPORT" or',
    "disk.a = { nbd = 'nbd://h:70000' }": 'disk.a.nbd: "70000" is no port; ports go from 1 to 65535',
    "disk.a = { nbd = 'nbd://h/%%0a' }": 'disk.a.nbd: "%0a" holds control characters or is no UTF-8',
    "disk.a = { nbd = 'nbd://h', aio = 'native', cache = 'none' }": "disk.a.aio: is for files, and nbd is none",
    "disk.a = { nbd = 'nbd://h', create = '1 GiB' }": "disk.a.create: is for files, and nbd is none",
    "disk.a = { file = '/dev/sda', create = '1 GiB' }": "disk.a.create: is for files, and /dev/sda is a device",
    "disk.a = { file = '/a', create = '1000 B' }": "disk.a.create: 1000 B is not a whole number of sectors",
    "disk.a = { file = '/a', create = '0 B' }": "disk.a.create: 0 B is out of range; allowed: 512 B to 4096 TiB",
    "disk.a = { file = '/a', create = '1 GiB', read-only = true }": "disk.a.create: would be empty for ever",
    "disk.a = { file = '/a', base = '/b', format = 'raw' }": 'disk.a.base: needs format = "qcow2": a raw image',
    "disk.a = { file = '/a', base = '/x/../a' }": "disk.a.base: is the disk's own file",
    "disk.a = { file = '/a', detect-zeroes = 'unmap', discard = 'ignore' }": 'detect-zeroes: "unmap" needs discard',
    "disk.a = { file = '/a', bus = 'nvme', werror = 'stop' }": 'disk.a.werror: is not for bus = "nvme", which always',
    "disk.a = { file = '/a', bus = 'nvme', rerror = 'stop' }": 'which always does "report"',
    "disk.a = { file = '/a', bus = 'sata', iothread = 'x' }": 'disk.a.iothread: is for bus = "virtio-blk" or',
    "disk.a = { file = '/a', bus = 'usb', queues = 2 }": 'disk.a.queues: is for bus = "virtio-blk" or "virtio-scsi"',
    "disk.a = { file = '/a', queues = 0 }": "disk.a.queues: 0 is out of range; allowed: 1 to 256",
    "disk.a = { file = '/a', serial = 'a,b' }": 'disk.a.serial: "a,b" is not allowed: a serial number is up to 36',
    "disk.a = { file = '/a', serial = 'aaaaaaaaaabbbbbbbbbbc' }": "disk.a.serial: is too long; a disk on bus = ",
    "disk.a = { file = '/a', bus = 'ide' }": 'disk.a.bus: machine type "q35" has no IDE; write bus = "sata"',
    "cdrom.a.bus = 'ide'": 'cdrom.a.bus: machine type "q35" has no IDE; write bus = "sata"',
    "machine.type = 'microvm'\ncdrom.a.bus = 'usb'": 'cdrom.a.bus: a microvm has no "usb"; write bus = "virtio-scsi"',
    "machine.type = 'microvm'\ndisk.a = { file = '/a', bus = 'nvme' }": 'disk.a.bus: a microvm has no "nvme"',
    "disk.a = { file = '/a', throttle = 'slo' }\nthrottle.slow.iops-total = 1": (
        'disk.a.throttle: there is no [throttle.slo]; did you mean "slow"?'
    ),
    "disk.a = { file = '/a', iothread = 'io' }": "disk.a.iothread: there is no [iothread.io]",
    "disk.a = { file = '/a', bus = 'virtio-scsi', iothread = 'x' }\n"
    "disk.b = { file = '/b', bus = 'virtio-scsi', iothread = 'y' }\niothread = { x = {}, y = {} }": (
        'disk.b.iothread: all disks on bus = "virtio-scsi" share one controller, and disk.a.iothread is x'
    ),
    "iothread.a.pin = 'all'": 'iothread.a.pin: "all" is not allowed: write',
    "throttle.a = {}": "throttle.a: limits nothing; write bps-total or iops-total, or one of the others",
    "throttle.a = { bps-total = '1 B', bps-read = '1 B' }": "throttle.a.bps-read: cannot stand beside bps-total",
    "throttle.a = { iops-read = 1, bps-read-max = '1 B' }": "throttle.a.bps-read-max: needs bps-read, which it is",
    "throttle.a = { bps-total = '2 KiB', bps-total-max = '1 KiB' }": "1 KiB is less than bps-total, 2 KiB",
    "throttle.a = { iops-total = 1, iops-total-max-length = '2 s' }": "needs iops-total-max, of which it is the length",
    "throttle.a = { iops-total = 1, iops-total-max = 2, iops-total-max-length = '1.5 s' }": "write whole seconds",
    "throttle.a = { bps-total = '1 KiB', iops-size = '1 KiB' }": "throttle.a.iops-size: is for iops-total, iops-read",
    "throttle.a = { bps-total = '0 B' }": "throttle.a.bps-total: 0 B is out of range; allowed: 1 to",
    "throttle.a = { iops-total = 0 }": "throttle.a.iops-total: 0 is out of range; allowed: 1 to",
}


@pytest.mark.parametrize("text", BAD)
def test_what_does_not_go_together_is_told(text: str, tmp_path: Path) -> None:
    found = problems(tmp_path, text)
    assert any(BAD[text] in problem for problem in found), found


GOOD = [
    "disk.a = { nbd = 'nbd://h:1/x', format = 'raw', bus = 'usb' }",
    "disk.a = { file = '/a', create = '20 GiB', base = '/b', read-only = true }",
    "disk.a = { file = '/a', bus = 'virtio-scsi', serial = '012345678901234567890123456789012345' }",
    "disk.a = { file = '/a', bus = 'nvme', werror = 'enospc', rerror = 'report' }",
    "machine.type = 'pc-i440fx-7.2'\ndisk = { a = { file = '/a', bus = 'ide' }, b = { file = '/b', bus = 'sata' } }",
    "machine.type = 'microvm'\ncdrom.a.bus = 'virtio-scsi'",
    "disk.a = { file = '/a', bus = 'virtio-scsi', queues = 2 }\ndisk.b = { file = '/b', bus = 'virtio-scsi' }",
    "throttle.a = { iops-total = 1, iops-total-max = 2, iops-total-max-length = '2 s', iops-size = '4 KiB' }",
    "iothread = { a = {}, b = { pin = '0,2-3' } }",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_goes_together_is_taken(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(
    ("address", "export"),
    [
        ("nbd://h", Export("h", 10809, "", "")),
        ("nbd://h/", Export("h", 10809, "", "")),
        ("nbd://10.0.0.1:1/a/b", Export("10.0.0.1", 1, "", "a/b")),
        ("nbd://[::1]", Export("::1", 10809, "", "")),
        ("nbd://[fe80::1]:65535/%C3%A9%2C", Export("fe80::1", 65535, "", "é,")),
        ("nbd+unix:///a%3Fb?socket=/run/x%26y", Export("", 0, "/run/x&y", "a?b")),
        ("nbd+unix://?socket=/s", Export("", 0, "/s", "")),
    ],
)
def test_the_parts_of_an_nbd_address(address: str, export: Export) -> None:
    assert parse(address) == export


@pytest.mark.parametrize(
    "address",
    ["nbd://", "nbd:///x", "nbd+unix:///x", "nbd://u@h", "nbd://h\n", "nbds://h", "nbd://h:0", "nbd://h/%ff"],
)
def test_what_is_no_nbd_address(address: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse(address)


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("disk.a = { file = '/a', base = '/b' }", "disk.a = { file = '/c', base = '/b' }", None),
        (
            "disk.a = { file = '/a', base = '/b' }",
            "disk.a = { file = '/b' }",
            "the image /b is used by guest one",
        ),
        ("disk.a = { file = '/a', base = '/b' }", "disk.a = { file = '/b', read-only = true }", None),
        (
            "disk.a.nbd = 'nbd://h/x'",
            "disk.a.nbd = 'nbd://h:10809/x'",
            "the export nbd://h:10809/x is used by guest",
        ),
        ("disk.a.nbd = 'nbd://h/x'", "disk.a.nbd = 'nbd://h/y'", None),
        (
            "disk.a = { nbd = 'nbd://h/x', read-only = true }",
            "disk.a = { nbd = 'nbd://h/x', read-only = true }",
            None,
        ),
    ],
)
def test_a_base_is_shared_by_readers_and_an_export_has_one_guest(
    first: str, second: str, clash: str | None, tmp_path: Path
) -> None:
    found = [str(problem) for problem in configuration(tmp_path, {"one": first, "two": second}).problems]
    assert len(found) == (clash is not None)
    assert clash is None or clash in found[0]

"""Disks that firmware boots a small Linux from, made without root and without mounting anything.

``bios_disk`` is a PC's disk as it was for thirty years: a master boot record, a FAT partition, SYSLINUX.
``uefi_disk`` is what UEFI starts, with Secure Boot as well: an EFI system partition with Debian's signed shim, GRUB
and kernel.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from debian import MissingError, Packages

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1 << 20
SECTOR: Final = 512
START: Final = MIB
"""Where the partition begins."""
CODE_SIZE: Final = 446
"""What the code of a master boot record has room for."""
ACTIVE: Final = 0x80
FAT16: Final = 0x0E
"""By LBA, which all but the oldest systems know."""
EFI_SYSTEM: Final = 0xEF
BEYOND: Final = b"\xfe\xff\xff"
"""Cylinder, head and sector of what lies where those do not reach."""
BIOS_DISK: Final = 48 * MIB
UEFI_DISK: Final = 64 * MIB
GEOMETRY: Final = ("-h", "16", "-s", "63", "-H", str(START // SECTOR))
SYSLINUX_CFG: Final = """\
SERIAL 0 115200
DEFAULT linux
LABEL linux
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=ttyS0 quiet panic=-1
"""
GRUB_CFG: Final = """\
linux /vmlinuz console=ttyS0 quiet panic=-1
initrd /initrd
boot
"""


def bios_disk(target: Path, kernel: Path, initrd: bytes, packages: Packages) -> None:
    """A disk with an MBR and SYSLINUX, which starts the kernel."""
    tools = Tools(packages)
    syslinux = packages.file("syslinux", "usr/bin/syslinux")
    code = packages.file("syslinux-common", "**/mbr/mbr.bin").read_bytes()
    volume = partitioned(target, BIOS_DISK, FAT16, code)
    tools.run("mformat", "-i", volume, "-T", str((BIOS_DISK - START) // SECTOR), *GEOMETRY, "::")
    files = {"vmlinuz": kernel.read_bytes(), "initrd": initrd, "syslinux.cfg": SYSLINUX_CFG.encode()}
    tools.copy(volume, files)
    tools.run(str(syslinux), "-t", str(START), "-i", str(target))


def uefi_disk(target: Path, kernel: Path, initrd: bytes, packages: Packages) -> None:
    """A disk with Debian's signed boot chain; Secure Boot takes it if the kernel is a signed one of Debian's."""
    tools = Tools(packages)
    volume = partitioned(target, UEFI_DISK, EFI_SYSTEM)
    tools.run("mformat", "-i", volume, "-F", "-T", str((UEFI_DISK - START) // SECTOR), *GEOMETRY, "::")
    tools.run("mmd", "-i", volume, "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    files = {
        # The name by which firmware finds what to start on a disk that it has never seen.
        "EFI/BOOT/BOOTX64.EFI": packages.file("shim-signed", "**/shimx64.efi.signed").read_bytes(),
        "EFI/BOOT/grubx64.efi": packages.file("grub-efi-amd64-signed", "**/grubx64.efi.signed").read_bytes(),
        "EFI/debian/grub.cfg": GRUB_CFG.encode(),
        "vmlinuz": kernel.read_bytes(),
        "initrd": initrd,
    }
    tools.copy(volume, files)


def partitioned(target: Path, size: int, kind: int, code: bytes = b"") -> str:
    """Make a disk with one partition, by the table in its MBR; returns what the mtools call the partition."""
    entry = struct.pack("<B3sB3sII", ACTIVE, BEYOND, kind, BEYOND, START // SECTOR, (size - START) // SECTOR)
    target.write_bytes(code.ljust(CODE_SIZE, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa")
    os.truncate(target, size)
    return f"{target}@@{START}"


class Tools:
    """The mtools, which write into FAT file systems, and what calls them."""

    def __init__(self, packages: Packages) -> None:
        self._environment = {
            "PATH": f"{packages.unpacked('mtools') / 'usr/bin'}:{os.environ.get('PATH', os.defpath)}",
            "MTOOLS_SKIP_CHECK": "1",
        }

    def run(self, *command: str) -> None:
        """Run a tool; raises MissingError with its words if it fails."""
        done = subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise MissingError(f"{Path(command[0]).name} failed: {' '.join(done.stderr.split())}")

    def copy(self, volume: str, files: dict[str, bytes]) -> None:
        """Put files into a file system."""
        with tempfile.TemporaryDirectory() as directory:
            for name, source in self._written(Path(directory), files):
                self.run("mcopy", "-i", volume, str(source), f"::/{name}")

    @staticmethod
    def _written(directory: Path, files: dict[str, bytes]) -> Iterator[tuple[str, Path]]:
        for number, (name, content) in enumerate(files.items()):
            source = directory / str(number)
            source.write_bytes(content)
            yield name, source

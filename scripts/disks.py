"""Disks that firmware boots a small Linux from, made without root and without mounting anything.

``bios_disk`` is a PC's disk as it was for thirty years: a master boot record, a FAT partition, SYSLINUX.
``secure_disk`` is what UEFI Secure Boot accepts: Debian's signed shim, GRUB and kernel on a FAT file system.
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
"""Where the partition of a BIOS disk begins."""
BIOS_DISK: Final = 48 * MIB
SECURE_DISK: Final = 64 * MIB
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
    with target.open("wb") as disk:
        disk.write(packages.file("syslinux-common", "**/mbr/mbr.bin").read_bytes())
        disk.seek(446)
        # One active partition, FAT16 by LBA; its CHS fields say that it is beyond them.
        sectors = (BIOS_DISK - START) // SECTOR
        beyond = b"\xfe\xff\xff"
        disk.write(struct.pack("<B3sB3sII", 0x80, beyond, 0x0E, beyond, START // SECTOR, sectors))
        disk.seek(510)
        disk.write(b"\x55\xaa")
        disk.truncate(BIOS_DISK)
    volume = f"{target}@@{START}"
    geometry = ("-T", str(sectors), "-h", "16", "-s", "63", "-H", str(START // SECTOR))
    tools.run("mformat", "-i", volume, *geometry, "::")
    tools.copy(
        volume, {"vmlinuz": kernel.read_bytes(), "initrd": initrd, "syslinux.cfg": SYSLINUX_CFG.encode()}
    )
    tools.run(str(syslinux), "-t", str(START), "-i", str(target))


def secure_disk(target: Path, kernel: Path, initrd: bytes, packages: Packages) -> None:
    """A file system with Debian's signed boot chain; the kernel must be a signed one of Debian's."""
    tools = Tools(packages)
    target.write_bytes(b"")
    os.truncate(target, SECURE_DISK)
    tools.run("mformat", "-i", str(target), "-F", "-h", "16", "-s", "63", "::")
    tools.run("mmd", "-i", str(target), "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    files = {
        "EFI/BOOT/BOOTX64.EFI": packages.file("shim-signed", "**/shimx64.efi.signed").read_bytes(),
        "EFI/BOOT/grubx64.efi": packages.file("grub-efi-amd64-signed", "**/grubx64.efi.signed").read_bytes(),
        "EFI/debian/grub.cfg": GRUB_CFG.encode(),
        "vmlinuz": kernel.read_bytes(),
        "initrd": initrd,
    }
    tools.copy(str(target), files)


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

"""Boot sectors for tests that need no more of a guest than a few instructions."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

DISK = 1 << 20
"""A disk of a single sector has no geometry that an IDE drive could report."""


def assembled(code: str) -> bytes:
    """A disk whose boot sector is this code, for a processor in real mode."""
    sector = linked(f".code16\n.globl _start\n_start:\n{code}\n.org 510\n.word 0xaa55\n")
    return sector.ljust(DISK, b"\0")


def linked(source: str) -> bytes:
    """What is to lie at 0x7c00, where a BIOS loads a boot sector."""
    with tempfile.TemporaryDirectory() as directory:
        made, sector = f"{directory}/sector.o", f"{directory}/sector"
        subprocess.run(["as", "--32", "-o", made], input=source, text=True, check=True)
        link = ["ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-e", "0x7c00"]
        subprocess.run([*link, "-o", sector, made], check=True)
        return Path(sector).read_bytes()

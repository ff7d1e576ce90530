"""The guest of ``causes.S``, as the text of a guest file and as an image."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.functional import boot_sector

SOURCE = Path(__file__).with_name("causes.S")

GUEST = """
[machine]
type = "pc"
accel = "{accel}"
[cpu]
model = "qemu64"
[memory]
size = "16 MiB"
[disk.root]
file = "{image}"
format = "{format}"
bus = "ide"
{disk}
[boot]
order = ["root"]
[serial.console]
[panic]
enabled = true
[watchdog]
model = "ib700"
[qemu]
args = ["-device", "isa-debug-exit"{args}]
[stop]
{more}
"""
STAY = """
methods = []
[restart]
policy = "never"
"""
"""The end of its file where nothing is asked of it at a stop, and it stays off after its end."""


def guest(
    image: Path, accel: str, more: str, *, image_format: str = "raw", disk: str = "", args: str = ""
) -> str:
    """The text of its file. ``more`` are further keys of `[stop]` and further tables, ``disk`` further keys of its
    disk, ``args`` further words for QEMU, each after a comma.
    """
    return GUEST.format(image=image, accel=accel, more=more, format=image_format, disk=disk, args=args)


def build(image: Path, size: int = 1 << 20) -> Path:
    """Assemble the guest into an image of so many bytes."""
    with image.open("wb") as file:
        file.write(boot_sector.linked(SOURCE.read_text()))
        file.truncate(size)
    return image


def damaged(image: Path) -> Path:
    """A qcow2 of this image whose tables say that they are free themselves: they are given out again."""
    made = image.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", image, made], check=True)
    with made.open("r+b") as file:
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        file.seek(block)
        file.write(bytes(64))
    return made

"""The guest of ``causes.S``, as the text of a guest file and as an image."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("causes.S")

GUEST = """
[machine]
type = "pc"
accel = "{accel}"
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
    work = image.with_suffix(".o")
    sector = image.with_suffix(".bin")
    subprocess.run(["as", "--32", "-o", work, SOURCE], check=True)
    link: list[str | Path] = [
        "ld",
        "-m",
        "elf_i386",
        "--oformat",
        "binary",
        "-Ttext",
        "0x7c00",
        "-o",
        sector,
        work,
    ]
    subprocess.run(link, check=True, stderr=subprocess.DEVNULL)
    with image.open("wb") as file:
        file.write(sector.read_bytes())
        file.truncate(size)
    work.unlink()
    sector.unlink()
    return image

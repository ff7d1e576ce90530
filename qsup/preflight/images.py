"""Disks and CD-ROMs: whether their images can be used, and where images can be made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsup.argv.files import CreateImage
from qsup.preflight.chain import image
from qsup.preflight.obstacle import IMAGES, Obstacle, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """All images, in the order in which QEMU would open them."""
    for name, disk in plan.spec.disk.items():
        if disk.file is None or (plan.makes(disk.file) and not os.path.lexists(disk.file)):
            continue
        write = not disk.read_only
        yield from image(("disk", name), disk.file, disk.format, write=write, running=plan.running)
    for name, cdrom in plan.spec.cdrom.items():
        if cdrom.file is not None:
            yield from unusable(("cdrom", name, "file"), cdrom.file, IMAGES)
    for file in plan.made.files:
        if isinstance(file, CreateImage) and not os.path.lexists(file.path):
            yield from _made(file)


def _made(file: CreateImage) -> Iterator[Obstacle]:
    """What keeps an image from being made."""
    directory = os.path.dirname(file.path)
    if not os.path.isdir(directory):
        yield Obstacle(
            (*file.source, "file"), f"{file.path} cannot be made: there is no directory {directory}"
        )
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield Obstacle(
            (*file.source, "file"), f"{file.path} cannot be made: {directory} cannot be written by this user"
        )
    if file.base is not None:
        for key, message, fatal in image(
            file.source, file.base, file.base_format or file.format, write=False, running=False
        ):
            told = message.replace("write format", "write base-format")
            yield Obstacle((*key[:-1], "base" if key[-1] == "file" else "base-format"), told, fatal)

"""The firmware, and the guest's copy of its variables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsup.argv.files import CopyFile
from qsup.preflight.obstacle import REGULAR, Obstacle, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Files that are not there, and variables that were made for another firmware."""
    machine = plan.spec.machine
    if machine.firmware_code is not None:
        yield from unusable(("machine", "firmware-code"), machine.firmware_code, REGULAR)
    for file in plan.made.files:
        if isinstance(file, CopyFile) and file.source[:1] == ("machine",):
            found = list(unusable(file.source, file.template, REGULAR))
            yield from found or _changed(file)


def _changed(file: CopyFile) -> Iterator[Obstacle]:
    """Builds of one firmware differ in the size of their variables, and each can only use its own."""
    try:
        kept, wanted = os.stat(file.path).st_size, os.stat(file.template).st_size
    except OSError:
        return
    if kept != wanted and not file.path.endswith(".qcow2"):
        yield Obstacle(
            file.source,
            f"{file.path} holds {kept} bytes of variables, and {file.template}, which the firmware here starts "
            f"with, {wanted}: they belong to another build; name that one with firmware-code, or move the file "
            "away, and the guest's boot entries with it",
        )

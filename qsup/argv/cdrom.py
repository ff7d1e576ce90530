"""CD-ROM drives: those that are declared, and the one with the seed of cloud-init."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from qsup.argv import usb
from qsup.argv.blockdev import Image, nodes
from qsup.argv.files import SeedImage
from qsup.argv.invocation import SEED_FILE
from qsup.argv.places import Places
from qsup.argv.quote import device, sourced
from qsup.spec.tables.disk import CdromBus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.files import File
    from qsup.argv.invocation import Option


def options(draft: Draft) -> Iterator[Option]:
    """In the file's order; a drive without a disc is there all the same."""
    places = Places(draft)
    for name, cdrom in draft.spec.cdrom.items():
        yield from sourced(("cdrom", name), _drive(draft, places, f"cdrom-{name}", cdrom.file, name))
    if draft.spec.cloud_init is not None:
        drive = _drive(draft, places, usb.SEED, _seed_file(draft), usb.SEED)
        yield from sourced(("cloud-init",), drive)


def files(draft: Draft) -> Iterator[File]:
    """The seed of cloud-init, in the launch's own directory: no older one is ever found there."""
    if draft.spec.cloud_init is not None:
        yield SeedImage(_seed_file(draft), draft.spec.name, draft.spec.cloud_init)


def _seed_file(draft: Draft) -> str:
    return posixpath.join(draft.context.run_dir, SEED_FILE)


def _drive(draft: Draft, places: Places, node: str, file: str | None, serial: str) -> Iterator[Option]:
    if file is not None:
        yield from nodes(node, Image(file=file))
    if places.bus(node) is CdromBus.USB:
        # usb-storage makes a disk of whatever it is given; this one takes drives of any kind.
        yield device({"driver": "usb-bot", **usb.port(draft.spec, node), "id": f"bot-{node}"})
    yield device(
        {
            **places[node],
            "id": node,
            "drive": node if file is not None else None,
            "serial": serial,
            "bootindex": draft.boot_index.get(node),
        }
    )

"""Parallel ports on the ISA bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import Option
from qsup.argv.quote import device, pairs, sourced
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.tables.parallel import Parallel

PORTS: Final = 3
"""LPT1 to LPT3: QEMU knows I/O addresses for no more."""


def options(draft: Draft) -> Iterator[Option]:
    """The first table is the guest's parport0."""
    if len(draft.spec.parallel) > PORTS:
        raise SpecError(f"there are {len(draft.spec.parallel)} parallel ports; a guest can have {PORTS}")
    for index, (port, parallel) in enumerate(draft.spec.parallel.items()):
        yield from sourced(("parallel", port), _port(index, f"parallel-{port}", parallel))


def _port(index: int, name: str, parallel: Parallel) -> Iterator[Option]:
    if parallel.device is not None:
        yield Option("-chardev", pairs("parallel", id=name, path=parallel.device))
    elif parallel.file is not None:
        yield Option("-chardev", pairs("file", id=name, path=parallel.file, append=True))
    else:
        raise SpecError(f"{name.replace('-', '.', 1)} needs `device` or `file`")
    yield device({"driver": "isa-parallel", "id": name, "chardev": name, "index": index})

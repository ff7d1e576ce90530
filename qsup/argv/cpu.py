"""The virtual processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.invocation import Option
from qsup.argv.quote import comma, pairs
from qsup.spec.model import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """The model, and one socket of cores: what QEMU makes of a bare count has changed between its releases."""
    cpu = draft.spec.cpu
    model = "max" if cpu.model == "host" and draft.accel is Accel.TCG else cpu.model
    yield Option("-cpu", comma(model))
    yield Option("-smp", pairs(cpus=cpu.count, sockets=1, cores=cpu.count, threads=1))

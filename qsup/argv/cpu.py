"""The virtual processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.invocation import Option
from qsup.argv.quote import pairs, plain
from qsup.errors import SpecError
from qsup.spec.model import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """The model, and one socket of cores: what QEMU makes of a bare count has changed between its releases."""
    cpu = draft.spec.cpu
    model = "max" if cpu.model == "host" and draft.accel is Accel.TCG else cpu.model
    if "," in model:
        # QEMU reads -cpu by rules of its own, in which nothing quotes a comma.
        raise SpecError(f"cpu.model is {model!r}: it cannot have a comma; features go into qemu.args")
    yield Option("-cpu", plain(model))
    yield Option("-smp", pairs(cpus=cpu.count, sockets=1, cores=cpu.count, threads=1))

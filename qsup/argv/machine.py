"""The board and its accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.invocation import Option
from qsup.argv.quote import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """The machine; a core dump of QEMU is for QEMU's faults and leaves out the guest's memory."""
    yield Option("-machine", pairs(type=draft.spec.machine.type, dump_guest_core=False))
    yield Option("-accel", draft.accel.value)

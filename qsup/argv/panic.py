"""The pvpanic device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.board import BRIDGE_SLOT_PANIC
from qsup.argv.quote import device
from qsup.spec.tables.panic import PanicModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec


def options(draft: Draft) -> Iterator[Option]:
    """All machine types have the bus of the ISA variant, and guests had a driver for it long before that for PCI."""
    if is_on_bridge(draft.spec):
        yield device({**draft.board.behind("pvpanic-pci", BRIDGE_SLOT_PANIC), "id": "panic"})
    elif draft.spec.panic.enabled:
        yield device({"driver": "pvpanic", "id": "panic"})


def is_on_bridge(spec: GuestSpec) -> bool:
    """Whether the device stands behind the PCI bridge."""
    return spec.panic.enabled and spec.panic.model is PanicModel.PCI

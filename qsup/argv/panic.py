"""The pvpanic device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.quote import device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option


def options(draft: Draft) -> Iterator[Option]:
    """The ISA variant: all machine types have the bus, and guests had a driver for it long before that for PCI."""
    if draft.spec.panic.enabled:
        yield device({"driver": "pvpanic", "id": "panic"})

"""The guest's RAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import Option
from qsup.argv.quote import pairs
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

MIB: Final = 1 << 20


def options(draft: Draft) -> Iterator[Option]:
    """Its size, in MiB."""
    size = draft.spec.memory.size
    if size < MIB or size % MIB:
        raise SpecError(f"memory.size is {size}: it must be whole MiB, at least one")
    yield Option("-m", pairs(size=f"{size // MIB}M"))

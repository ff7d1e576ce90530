"""The source of random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.board import SLOT_RNG
from qsup.argv.quote import as_json, device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option


def options(draft: Draft) -> Iterator[Option]:
    """A device of the host feeds the guest's."""
    if draft.spec.rng.enabled:
        yield as_json("-object", {"qom-type": "rng-random", "id": "rng", "filename": draft.spec.rng.source})
        rate = draft.spec.rng.rate
        limit = {} if rate is None else {"max-bytes": int(rate), "period": 1000}
        yield device({**draft.board.virtio("rng", SLOT_RNG), "id": "rng", "rng": "rng", **limit})

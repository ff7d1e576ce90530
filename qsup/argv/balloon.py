"""The virtio balloon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.board import SLOT_BALLOON
from qsup.argv.quote import device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option


def options(draft: Draft) -> Iterator[Option]:
    """The balloon, which QMP's `balloon` blows up."""
    balloon = draft.spec.balloon
    if balloon.enabled:
        yield device(
            {
                **draft.board.virtio("balloon", SLOT_BALLOON),
                "id": "balloon",
                "free-page-reporting": balloon.free_page_reporting,
                "deflate-on-oom": balloon.deflate_on_oom,
            }
        )

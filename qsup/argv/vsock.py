"""The socket between host and guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.board import SLOT_VSOCK, Board
from qsup.argv.quote import device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option


def options(draft: Draft) -> Iterator[Option]:
    """The kernel's own device: QEMU sees no byte of what goes through it."""
    vsock = draft.spec.vsock
    if not vsock.enabled:
        return
    if draft.board is Board.MICROVM:
        place: dict[str, object] = {"driver": "vhost-vsock-device"}
    else:
        place = draft.board.pci("vhost-vsock-pci", SLOT_VSOCK)
    yield device({**place, "id": "vsock", "guest-cid": vsock.address(draft.spec.name)})

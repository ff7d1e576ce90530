"""The socket between host and guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from msgspec import Meta

from qsup.spec.base import Section, about

LEAST_CID: Final = 3
MOST_CID: Final = (1 << 32) - 2
"""The context ids that guests can have: those below are the hypervisor's and the host's, the last one means any."""


class Vsock(Section, frozen=True, kw_only=True):
    """The vsock device: sockets between host and guest that need no network (`AF_VSOCK`)."""

    enabled: Annotated[
        bool,
        about("Whether the guest has it; the host needs `/dev/vhost-vsock`.", qemu="-device vhost-vsock-pci"),
    ] = False
    cid: Annotated[
        Annotated[int, Meta(ge=LEAST_CID, le=MOST_CID)] | None,
        about(
            "The guest's address. Without it one is derived from the guest's name, so it stays the same.",
            qemu="-device vhost-vsock-pci,guest-cid=",
        ),
    ] = None

    def address(self, guest: str) -> int:
        """The context id of a guest of this name."""
        if self.cid is not None:
            return self.cid
        chosen = int.from_bytes(hashlib.sha256(guest.encode()).digest()[:8])
        return LEAST_CID + chosen % (MOST_CID - LEAST_CID + 1)

"""Which helper programs a guest needs beside QEMU. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.spec.tables.nic import NicType
from qsup.spec.tables.share import ShareType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Path
    from qsup.spec.model import GuestSpec

SWTPM: Final = "swtpm"
VIRTIOFSD: Final = "virtiofsd"
PASST: Final = "passt"

ASSUMED: Final = {SWTPM: "/usr/bin/swtpm", VIRTIOFSD: "/usr/libexec/virtiofsd", PASST: "/usr/bin/passt"}
"""Where most distributions have them."""


def needed(spec: GuestSpec) -> Iterator[tuple[str, Path]]:
    """Each program that is needed, with the key that needs it first."""
    if spec.tpm.enabled:
        yield SWTPM, ("tpm", "enabled")
    for name, share in spec.share.items():
        if share.type is ShareType.VIRTIOFS:
            yield VIRTIOFSD, ("share", name, "type")
            break
    for name, nic in spec.nic.items():
        if nic.type is NicType.PASST:
            yield PASST, ("nic", name, "type")
            break

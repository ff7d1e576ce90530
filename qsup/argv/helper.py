"""Processes beside QEMU that one of its devices is made of: a TPM emulator, a file server, a network.

Between QEMU and each helper there is one Unix socket, connected before either of them exists. So whichever of the
two dies, the other one learns of it from the kernel, and a helper whose QEMU is gone ends by itself: it can be
neither forgotten nor left over, whatever becomes of the supervisor.
"""

from __future__ import annotations

from typing import Final

import msgspec

HELPER_FD: Final = 3
"""The helper's end of the socket; 0 is /dev/null, 1 and 2 are its log."""


class Helper(msgspec.Struct, frozen=True):
    """One helper of one launch.

    The socket's name in the run directory is ``file``. Either the helper accepts on it, then QEMU inherits the other
    end as ``qemu_fd``; or (``qemu_fd`` is None) QEMU accepts, and the helper inherits the connection. Only in the
    second case can a new helper take the place of one that died, as QEMU goes on accepting.
    """

    name: str
    """``tpm``, ``share-data``, ``net-lan``: the id of what it belongs to in QEMU."""
    argv: tuple[str, ...]
    qemu_fd: int | None = None
    question: bytes = b""
    """What is asked over the socket before QEMU has it; that it is answered means that the helper is ready. It must
    not change what the helper then does. Empty where the helper has nothing to be asked."""
    answer: int = 0
    """Bytes of the answer. All of them are read, or QEMU would take the rest for an answer to itself."""
    directory: str | None = None
    """A directory of its own, which is made where it is not there."""
    is_confined: bool = False
    """Whether it runs as the user that QEMU runs as, because it needs nothing that this one may not have."""

    @property
    def file(self) -> str:
        """The socket's name in the run directory."""
        return socket_file(self.name)

    @property
    def log(self) -> str:
        """The name of what it writes, there."""
        return f"{self.name}.log"

    @property
    def replaceable(self) -> bool:
        """Whether QEMU takes a new one in its place."""
        return self.qemu_fd is None


def socket_file(name: str) -> str:
    """The name of a helper's socket in the run directory."""
    return f"{name}.sock"

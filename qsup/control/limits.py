"""What clients of the control socket may take."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What one client, and all of one sort together, may take; sizes in bytes, times in seconds."""

    clients: int = 64
    each: int = 16
    """Connections of one user, if it is none of the daemon's owners."""
    handshake: float = 5.0
    message: int = 256 * 1024
    pending: int = 1024 * 1024
    """Output that a client leaves unread before it is dropped."""

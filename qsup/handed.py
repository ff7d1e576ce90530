"""A listening socket that systemd has opened: socket activation by systemd.socket(5).

It is systemd's: its mode and group are as its unit says, it stays when the daemon leaves, and whoever connects while
there is no daemon waits for the next one instead of failing.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from qsup.errors import QsupError

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def take(found: MutableMapping[str, list[int]], name: str) -> socket.socket | None:
    """Take the socket of a name out of what systemd has handed over; None if it is not among that.

    The name is ``FileDescriptorName=`` in the socket's unit. Raises QsupError if what has it is something else.
    """
    fds = found.pop(name, [])
    if not fds:
        return None
    for surplus in fds[1:]:
        os.close(surplus)
    if len(fds) > 1:
        os.close(fds[0])
        raise QsupError(f"systemd hands over {len(fds)} sockets named {name}; one ListenStream= is right")
    try:
        handed = socket.socket(fileno=fds[0])
    except OSError as error:
        os.close(fds[0])
        raise QsupError(f"what systemd hands over as {name} is no socket: {error.strerror}") from error
    if not _listens_on_a_path(handed):
        handed.close()
        raise QsupError(f"what systemd hands over as {name} does not listen on a Unix socket's path")
    return handed


def _listens_on_a_path(handed: socket.socket) -> bool:
    return (
        (handed.family, handed.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        and bool(handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        and isinstance(handed.getsockname(), str)
        and handed.getsockname().startswith("/")
    )

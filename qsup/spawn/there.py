"""Has a spawner execute what is ordered: the child is the spawner's, and inherits nothing from this process.

A spawner takes no longer than an exec does, so its answer is waited for on the spot, and nothing that is cancelled can
leave a process behind that nobody knows of. One that hangs is given up after a few seconds; it kills what it starts
too late.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.errors import LaunchError
from qsup.spawn.order import Born
from qsup.spawn.wire import Answer, Garbled, Request, receive, send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.spawn.order import Order
    from qsup.status import ExitStatus

PATIENCE: Final = 5.0
"""Seconds for a process to be started."""
STATUS_PATIENCE: Final = 1.0
"""Seconds for a status, which the kernel may tell as well."""


def spawn(path: str, order: Order, sources: Sequence[int]) -> Born:
    """Have the spawner at ``path`` execute an order with these fds of ours. Raises LaunchError."""
    answer, fds = _asked(path, Request.of(order), sources, PATIENCE)
    if answer.pid is None or len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise LaunchError(answer.error or f"the spawner at {path} answers with no process")
    return Born(answer.pid, fds[0])


def reap(path: str, pidfd: int) -> ExitStatus | None:
    """The status of a child of the spawner's that has ended, told once; None of any other, and without an answer."""
    try:
        answer, fds = _asked(path, Request(), [pidfd], STATUS_PATIENCE)
    except LaunchError:
        return None
    for fd in fds:
        os.close(fd)
    return answer.status


def _asked(path: str, request: Request, fds: Sequence[int], patience: float) -> tuple[Answer, list[int]]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(patience)
        try:
            line.connect(path)
            send(line, request, fds)
            return receive(line, Answer)
        except (OSError, Garbled, msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise LaunchError(
                f"the spawner at {path} starts nothing: {error}; `systemctl status qsup-spawn` tells more"
            ) from error

"""Starts processes and tells how they ended: as this process's own children, or as those of a spawner.

A daemon that its unit holds to less than what a QEMU needs has a spawner beside it, and finds it by the environment
variable ``QSUP_SPAWNER``, the path of its socket.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsup.spawn import here, there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.spawn.order import Born, Order
    from qsup.status import ExitStatus

SPAWNER: Final = "QSUP_SPAWNER"


def spawn(order: Order, sources: Sequence[int] = ()) -> Born:
    """Execute an order; ``sources`` are the fds of ours that it gets. Raises LaunchError."""
    path = os.environ.get(SPAWNER)
    return there.spawn(path, order, sources) if path else here.spawn(order, sources)


def reap(pidfd: int) -> ExitStatus | None:
    """The status of a process that has ended, as its parent tells it, once; None if that does not know it."""
    path = os.environ.get(SPAWNER)
    status = there.reap(path, pidfd) if path else None
    # What was started before there was a spawner, or by one that has gone, it does not know.
    return status or here.reap(pidfd)

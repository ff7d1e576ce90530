"""Executes what is ordered as children of this process, which they inherit their limits and their hardening from."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from typing import TYPE_CHECKING, Final

from qsup.errors import LaunchError
from qsup.spawn.numa import policy_of_children
from qsup.spawn.order import Born
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.spawn.order import Order

CATCHABLE: Final = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
]


def spawn(order: Order, sources: Sequence[int]) -> Born:
    """Execute an order with these fds of ours. Raises LaunchError if that cannot be done."""
    try:
        with policy_of_children(*order.memory):
            return _spawn(order, sources)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise LaunchError(f"cannot execute {order.argv[0]}: {why}") from error


def _spawn(order: Order, sources: Sequence[int]) -> Born:
    # Fds are first moved above all target numbers, so that no dup2 overwrites the source of the next.
    above = max((2, *order.targets)) + 1
    with contextlib.ExitStack() as stack:
        actions = []
        for target, source in zip(order.targets, sources, strict=True):
            moved = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, above)
            stack.callback(os.close, moved)
            actions.append((os.POSIX_SPAWN_DUP2, moved, target))
        pid = os.posix_spawn(
            order.argv[0], list(order.argv), order.environment,
            file_actions=actions, setsid=True, setsigmask=[], setsigdef=CATCHABLE,
        )  # fmt: skip
    try:
        # A child that nobody has waited for keeps its pid, so this cannot be a stranger.
        return Born(pid, os.pidfd_open(pid))
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def reap(pidfd: int) -> ExitStatus | None:
    """The status of a child of ours that has ended, which is told once; None of any other process."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except OSError:
        return None
    if result is None:
        return None
    return ExitStatus("exit" if result.si_code == os.CLD_EXITED else "signal", result.si_status)

"""Processes with all that they have started, each held by a pidfd."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from qsup.proc.kernel import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qsup.proc.process import Process


@contextlib.contextmanager
def family(parents: Iterable[Process]) -> Iterator[dict[int, int]]:
    """The pids of these processes and of their descendants, with pidfds that are good meanwhile."""
    with contextlib.ExitStack() as ours:
        found: dict[int, int] = {}
        for parent in parents:
            if not parent.ended:
                # The process may be forgotten meanwhile.
                own = os.dup(parent.pidfd)
                ours.callback(os.close, own)
                found[parent.pid] = own
                found |= _below(parent.pid, ours)
        yield found


def _below(parent: int, ours: contextlib.ExitStack) -> dict[int, int]:
    found: dict[int, int] = {}
    for child in _children(parent):
        try:
            pidfd = os.pidfd_open(child)
        except OSError:
            continue
        ours.callback(os.close, pidfd)
        # It may have ended before, and another process may have its number by now.
        if child in _children(parent):
            found[child] = pidfd
            found |= _below(child, ours)
    return found


def _children(parent: int) -> set[int]:
    """Those that any thread of a process has started and that still live."""
    try:
        tasks = os.listdir(f"/proc/{parent}/task")
    except OSError:
        return set()
    lists = (read(f"/proc/{parent}/task/{task}/children") for task in tasks)
    return {int(child) for line in lists for child in line.split()}

"""The threads of a process, and the CPUs that they may run on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def threads(pid: int) -> frozenset[int]:
    """The ids of all threads of a process; raises OSError if it is gone."""
    return frozenset(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def bind(pid: int, thread: int, cpus: Collection[int]) -> None:
    """Let a thread of this process run on these CPUs only.

    Raises ProcessLookupError if it is none of its threads, OSError if it may have none of the CPUs.
    """
    if not os.path.isdir(f"/proc/{pid}/task/{thread}"):
        raise ProcessLookupError(thread)
    os.sched_setaffinity(thread, cpus)

"""Where the memory of a process comes from: set_mempolicy(2), which children inherit."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SET_MEMPOLICY: Final = 238
GET_MEMPOLICY: Final = 239
"""Numbers of system calls on x86-64; glibc leaves them to libnuma."""
POLICIES: Final = {"default": 0, "preferred": 1, "bind": 2, "interleave": 3, "local": 4}
"""The modes of set_mempolicy(2)."""
WORD: Final = 64
WORDS: Final = 128
"""As many as a set of the 8,192 nodes needs that a guest's file can name."""


@contextlib.contextmanager
def policy_of_children(policy: str, nodes: Collection[int]) -> Iterator[None]:
    """Have the memory of processes that this thread starts meanwhile come from these NUMA nodes.

    Raises OSError if the host has none of the nodes, or knows no NUMA. Nothing may be awaited meanwhile.
    """
    if policy == "default":
        yield
        return
    mode, usual = ctypes.c_int(), _Nodes()
    if _libc().syscall(GET_MEMPOLICY, ctypes.byref(mode), usual, WORDS * WORD, None, 0):
        raise _failed()
    wanted = _Nodes()
    for node in nodes:
        wanted[node // WORD] |= 1 << node % WORD
    _set(POLICIES[policy], wanted)
    try:
        yield
    finally:
        # The daemon may have been started with a policy of its own.
        _set(mode.value, usual)


_Nodes = ctypes.c_ulong * WORDS


def _set(mode: int, nodes: ctypes.Array[ctypes.c_ulong]) -> None:
    # Modes that are about no nodes take no empty set.
    some = any(nodes)
    if _libc().syscall(SET_MEMPOLICY, mode, nodes if some else None, WORDS * WORD if some else 0):
        raise _failed()


def _failed() -> OSError:
    number = ctypes.get_errno()
    why = "there is no such NUMA node" if number == errno.EINVAL else os.strerror(number)
    return OSError(number, f"the NUMA policy cannot be set: {why}")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

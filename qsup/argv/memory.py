"""The guest's RAM: anonymous memory that QEMU makes itself, or a backend where more than its size is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import Board
from qsup.argv.invocation import Option
from qsup.argv.quote import as_json, pairs
from qsup.errors import SpecError
from qsup.spec.sharing import needs_shared_memory
from qsup.spec.tables.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.model import GuestSpec

MIB: Final = 1 << 20
BACKEND: Final = "memory"
"""The id of the one backend of a guest without NUMA nodes."""


def options(draft: Draft) -> Iterator[Option]:
    """Its size in MiB, and its backend, if it has one; with NUMA nodes each has a backend of its own."""
    memory = draft.spec.memory
    size = mib("memory.size", memory.size)
    if memory.max is None:
        yield Option("-m", pairs(size=size))
    else:
        if draft.board is Board.MICROVM:
            raise SpecError("memory.max: nothing can be plugged into a microvm")
        yield Option("-m", pairs(size=size, slots=memory.slots or 0, maxmem=mib("memory.max", memory.max)))
    if memory.lock:
        yield Option("-overcommit", pairs(mem_lock=True))
    if main_backend(draft.spec) is not None:
        yield backend(draft.spec, BACKEND, int(memory.size))


def mib(key: str, size: int) -> str:
    """A size as QEMU takes it without a doubt about its unit. Raises SpecError if it is not whole MiB."""
    if size < MIB or size % MIB:
        raise SpecError(f"{key} is {size}: it must be whole MiB, at least one")
    return f"{size // MIB}M"


def main_backend(spec: GuestSpec) -> str | None:
    """The id of the backend that ``-machine memory-backend=`` names."""
    memory = spec.memory
    said = (memory.backend, memory.page_size, memory.share)
    asked = any(value is not None for value in said) or memory.prealloc or not memory.merge
    return BACKEND if not spec.numa and (asked or needs_shared_memory(spec)) else None


def backend(spec: GuestSpec, ident: str, size: int, **members: object) -> Option:
    """The object that holds ``size`` bytes of the guest's memory, as `[memory]` says."""
    memory = spec.memory
    kind = _kind(spec)
    shared = memory.share
    if shared is None:
        shared = kind is MemoryBackend.MEMFD or needs_shared_memory(spec)
    huge = None if memory.page_size is None else {"hugetlb": True, "hugetlbsize": int(memory.page_size)}
    if kind is MemoryBackend.FILE and memory.path is None:
        raise SpecError('memory.backend = "file" needs `path`')
    return as_json(
        "-object",
        {
            "qom-type": f"memory-backend-{kind}",
            "id": ident,
            "size": size,
            "mem-path": memory.path if kind is MemoryBackend.FILE else None,
            **(huge or {}),
            "share": shared,
            "prealloc": memory.prealloc or None,
            "merge": None if memory.merge else False,
            **members,
        },
    )


def _kind(spec: GuestSpec) -> MemoryBackend:
    memory = spec.memory
    if memory.backend is not None:
        return memory.backend
    wanted = memory.page_size is not None or memory.share or needs_shared_memory(spec)
    return MemoryBackend.MEMFD if wanted else MemoryBackend.RAM

"""The guest's RAM. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, HostPath, Section, about
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1 << 20
PAGE: Final = 1 << 12
MOST_MEMORY: Final = Size.parse("4096 TiB")
"""52 bits of physical address, the most that the architecture allows."""


class MemoryBackend(StrEnum):
    """What the guest's memory is on the host."""

    RAM = "ram"
    MEMFD = "memfd"
    FILE = "file"


class Memory(Section, frozen=True, kw_only=True):
    """The guest's RAM."""

    size: Annotated[
        Size, about("How much memory the guest has; at least 1 MiB, whole MiB.", qemu="-m size=")
    ] = Size.parse("1 GiB")
    max: Annotated[
        Size | None,
        about("How much it can have once more is plugged in; with `slots`.", qemu="-m maxmem="),
    ] = None
    slots: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None,
        about("How many memory devices can be plugged in, up to `max`.", qemu="-m slots="),
    ] = None
    backend: Annotated[
        MemoryBackend | None,
        about(
            "`ram`: anonymous memory; `memfd`: a file without a name, which helpers can share; `file`: files in `path`. "
            "Without it `memfd` if something has to share the memory or `page-size` is set, else `ram`.",
            qemu="-object memory-backend-ram|memfd|file",
        ),
    ] = None
    path: Annotated[
        HostPath | None,
        about(
            "For `file`: the directory, say `/dev/hugepages`, or the file.",
            qemu="-object memory-backend-file,mem-path=",
        ),
    ] = None
    page_size: Annotated[
        Size | None,
        about(
            "For `memfd`: huge pages of this size. For `file` the file system of `path` decides.",
            qemu="-object memory-backend-memfd,hugetlb=on,hugetlbsize=",
        ),
    ] = None
    share: Annotated[
        bool | None,
        about(
            "Whether other processes see what the guest writes. "
            "Without it they do if a virtiofs share or a vhost-user NIC needs it, and with `memfd`.",
            qemu="-object memory-backend-…,share=",
        ),
    ] = None
    prealloc: Annotated[
        bool,
        about(
            "Whether the host sets all of the memory aside before the guest starts.",
            qemu="-object memory-backend-…,prealloc=",
        ),
    ] = False
    lock: Annotated[
        bool,
        about("Whether the host keeps all of QEMU's memory in RAM.", qemu="-overcommit mem-lock="),
    ] = False
    merge: Annotated[
        bool,
        about(
            "Whether the host's kernel may merge equal pages of several guests (KSM).",
            qemu="-object memory-backend-…,merge=",
        ),
    ] = True

    def wrong(self) -> Iterator[Finding]:
        """Sizes that no machine can have, and keys that belong to another backend."""
        if self.size < MIB or self.size % MIB:
            yield ("size",), f"{self.size} is not a whole number of MiB, at least one"
        elif self.size > MOST_MEMORY:
            yield ("size",), f"{self.size} is more than any x86 machine can address, {MOST_MEMORY}"
        yield from self._wrong_max()
        yield from self._wrong_backend()

    def _wrong_max(self) -> Iterator[Finding]:
        if self.max is None:
            if self.slots is not None:
                yield ("slots",), "is for `max`, which is not set"
            return
        if self.max % MIB or self.max > MOST_MEMORY:
            yield ("max",), f"{self.max} is not a whole number of MiB up to {MOST_MEMORY}"
        elif self.max <= self.size:
            yield ("max",), f"{self.max} is not more than size, {self.size}"
        if self.slots is None:
            yield ("slots",), "is missing; `max` needs it"

    def _wrong_backend(self) -> Iterator[Finding]:
        if self.backend is MemoryBackend.FILE and self.path is None:
            yield ("path",), 'is missing; backend = "file" needs it'
        if self.path is not None and self.backend is not MemoryBackend.FILE:
            yield ("path",), 'belongs to backend = "file"'
        if self.page_size is None:
            return
        if self.backend not in {None, MemoryBackend.MEMFD}:
            yield ("page-size",), f'belongs to backend = "memfd", and the backend is "{self.backend}"'
        elif self.page_size < PAGE or self.page_size & (self.page_size - 1):
            yield ("page-size",), f'{self.page_size} is no size of a page; x86 has "2 MiB" and "1 GiB"'
        elif self.size % self.page_size:
            yield ("size",), f"{self.size} is not a whole number of pages of {self.page_size}"

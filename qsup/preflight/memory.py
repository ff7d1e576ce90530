"""The guest's memory against the host's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsup.preflight.obstacle import Obstacle
from qsup.spec.tables.memory import MemoryBackend
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan

MEMINFO: Final = "/proc/meminfo"
HUGE: Final = "/sys/kernel/mm/hugepages"
SMALL: Final = 4096


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Huge pages that are not there, and RAM that is not enough."""
    memory = plan.spec.memory
    if plan.running:
        return
    if memory.page_size is not None:
        yield from _huge(("memory", "page-size"), int(memory.page_size), int(memory.size))
    elif memory.backend is MemoryBackend.FILE and memory.path is not None:
        yield from _file(memory.path, int(memory.size))
    else:
        yield from _ram(plan)


def _ram(plan: Plan) -> Iterator[Obstacle]:
    """Anonymous memory is there when it is touched, so only what has to be there at once is an obstacle."""
    memory, host = plan.spec.memory, meminfo()
    total = host.get("MemTotal", 0)
    swap = 0 if memory.lock else host.get("SwapTotal", 0)
    available = host.get("MemAvailable", 0)
    if not total or memory.size <= available:
        return
    at_once = memory.prealloc or memory.lock
    if memory.size > total + swap:
        what = f"is more than this host has: {_size(total)} of RAM, {_size(swap)} of swap"
        yield Obstacle(("memory", "size"), f"{memory.size} {what}", fatal=at_once)
    elif memory.size > available:
        what = f"is more than the {_size(available)} of this host's RAM that are available now"
        yield Obstacle(("memory", "size"), f"{memory.size} {what}", fatal=False)


def _file(path: str, size: int) -> Iterator[Obstacle]:
    key = ("memory", "path")
    try:
        found = os.statvfs(path)
    except OSError as error:
        yield Obstacle(key, f"{path}: {error.strerror}")
        return
    if not os.access(path, os.W_OK):
        yield Obstacle(key, f"{path} cannot be written by this user")
    elif found.f_bsize > SMALL and os.path.isdir(_pages(found.f_bsize)):
        yield from _huge(key, found.f_bsize, size)
    elif os.path.isdir(path) and 0 < found.f_bavail * found.f_frsize < size:
        free = _size(found.f_bavail * found.f_frsize)
        yield Obstacle(key, f"{path} has {free} free, and the guest's memory is {_size(size)}")


def _huge(path: tuple[str, str], page: int, size: int) -> Iterator[Obstacle]:
    directory = _pages(page)
    if not os.path.isdir(directory):
        sizes = ", ".join(sorted(_size(each) for each in _page_sizes())) or "none"
        yield Obstacle(path, f"this host has no pages of {_size(page)}; it has: {sizes}")
        return
    wanted = -(-size // page)
    free = _number(f"{directory}/free_hugepages") - _number(f"{directory}/resv_hugepages")
    # What the kernel may make on demand beyond its pool.
    extra = _number(f"{directory}/nr_overcommit_hugepages") - _number(f"{directory}/surplus_hugepages")
    if wanted > free + max(0, extra):
        yield Obstacle(
            path,
            f"{wanted} pages of {_size(page)} are needed and {max(0, free)} are free; "
            f"write a larger number to {directory}/nr_hugepages",
        )


def meminfo() -> dict[str, int]:
    """The kernel's account of the memory, bytes; empty if it cannot be read."""
    try:
        with open(MEMINFO, encoding="ascii", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {
        name[:-1]: int(amount) << 10
        for name, amount, unit in (line for line in words if len(line) == 3)
        if unit == "kB" and amount.isdecimal()
    }


def _pages(page: int) -> str:
    return f"{HUGE}/hugepages-{page >> 10}kB"


def _page_sizes() -> Iterator[int]:
    try:
        names = os.listdir(HUGE)
    except OSError:
        return
    for name in names:
        digits = name.removeprefix("hugepages-").removesuffix("kB")
        if digits.isdecimal():
            yield int(digits) << 10


def _number(file: str) -> int:
    try:
        with open(file, encoding="ascii") as opened:
            return int(opened.read(32))
    except (OSError, ValueError):
        return 0


def _size(size: int) -> str:
    """A size as a person reads it: two digits after the point where it is not a whole number."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return str(Size(size))

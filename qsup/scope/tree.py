"""Guests in cgroups of our own, where no systemd runs: made below the one that the daemon has been given."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from qsup.errors import ScopeError
from qsup.proc.kernel import read
from qsup.scope import files
from qsup.scope.device import device_of
from qsup.scope.ground import LEAF, Way
from qsup.scope.wish import Scope

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from qsup.scope.files import Write
    from qsup.scope.ground import Ground
    from qsup.scope.wish import Wish
    from qsup.spec.tables.limits import Limits

PAUSE: Final = 0.02
LOOKS: Final = 100
"""How often it is looked whether a cgroup whose processes have ended is empty, with a pause after each."""


async def put(ground: Ground, wish: Wish, name: str, pids: Collection[int]) -> Scope:
    """Put processes into a cgroup that is limited before they come. Raises ScopeError."""
    return await asyncio.to_thread(_put, ground, wish, name, pids)


def _put(ground: Ground, wish: Wish, name: str, pids: Collection[int]) -> Scope:
    directory = f"{ground.base}/{name}"
    with _refusals(f"the cgroup {directory} cannot be made"):
        settle(ground)
        with contextlib.suppress(FileNotFoundError):
            # What an earlier launch has left.
            os.rmdir(directory)
        os.mkdir(directory)
        try:
            write(directory, files.of_limits(wish.limits, _devices(wish.limits, wish.disks)))
            _join(directory, pids)
        except BaseException:
            _is_gone(directory)
            raise
    return Scope(way=Way.CGROUP, name=name, directory=directory)


def settle(ground: Ground) -> None:
    """Leave the cgroup that the daemon was started in to guests: one that gives controllers on can hold no process.

    Raises OSError.
    """
    leaf = f"{ground.base}/{LEAF}"
    os.makedirs(leaf, exist_ok=True)
    if str(os.getpid()) not in read(f"{leaf}/cgroup.procs").split():
        write(leaf, [("cgroup.procs", str(os.getpid()))])
    given = read(f"{ground.base}/cgroup.subtree_control").split()
    write(
        ground.base, [("cgroup.subtree_control", f"+{name}") for name in ground.controllers.difference(given)]
    )


async def change(scope: Scope, old: Limits, new: Limits, disks: Mapping[str, str]) -> None:
    """Turn limits into others. Raises ScopeError."""
    devices = _devices(old, disks) | _devices(new, disks)
    with _refusals(f"the limits of the cgroup {scope.directory} cannot be changed"):
        await asyncio.to_thread(write, str(scope.directory), files.between(old, new, devices))


async def add(scope: Scope, pids: Collection[int]) -> None:
    """Move more processes into a cgroup. Raises ScopeError."""
    with _refusals(f"processes cannot be moved into the cgroup {scope.directory}"):
        _join(str(scope.directory), pids)


async def remove(scope: Scope) -> None:
    """Remove a cgroup as soon as its last process has gone; one that keeps some is left as it is."""
    for _ in range(LOOKS):
        if _is_gone(str(scope.directory)):
            return
        await asyncio.sleep(PAUSE)


def write(directory: str, writes: Iterable[Write]) -> None:
    """Write to files of a cgroup. Raises OSError naming the file."""
    for file, text in writes:
        path = f"{directory}/{file}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise OSError(error.errno, f"{file} does not take {text}: {error.strerror}", path) from error


def _join(directory: str, pids: Iterable[int]) -> None:
    for pid in pids:
        # One that has ended meanwhile needs no place any more.
        with contextlib.suppress(ProcessLookupError):
            write(directory, [("cgroup.procs", str(pid))])


def _is_gone(directory: str) -> bool:
    """Remove a cgroup if it is empty; whether it is gone."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _devices(limits: Limits, disks: Mapping[str, str]) -> dict[str, str]:
    return {disk: device_of(disks[disk]) for disk in limits.disk if disk in disks}


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScopeError(f"{what}: {error.strerror or error}") from error

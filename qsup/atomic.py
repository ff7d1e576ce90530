"""Files that are written whole or not at all, and read though somebody may have put something else in their place."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_file(path: Path, limit: int) -> bytes:
    """What a file holds, as far as one byte more than ``limit``; no link is followed, and no pipe is waited for.

    Raises OSError, and so for whatever is no file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return file.read(limit + 1)


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file by ``data``: a temporary file beside it, fsync, rename, fsync of the directory.

    Whoever reads sees the old content or the new one, also after a power cut. Raises OSError and leaves the old
    content if the disk is full. Not ``durable`` leaves out the fsyncs: for what must outlive the process that
    writes it, but means nothing any more once the host has gone down.
    """
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _write_all(fd, data)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    if durable:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def set_aside(path: Path) -> Path:
    """Rename an unreadable file out of the way, overwriting none that was set aside before; return its new name."""
    for number in range(1, 1000):
        target = path.with_name(f"{path.name}.unreadable-{number}")
        if not target.exists():
            path.rename(target)
            return target
    path.unlink()
    return path

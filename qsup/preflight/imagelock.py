"""Who uses an image: the locks by which QEMU keeps its processes apart, asked for and not taken.

QEMU's ``block/file-posix.c`` locks one byte of the file for each permission that a user of the image has, and one
for each that it denies to others.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")
"""``struct flock`` of Linux on 64 bits: type, whence, start, length, pid."""
_OFD_GETLK: Final = 36

_USES, _DENIES, _PERMISSIONS = 100, 200, 8
_CONSISTENT_READ, _WRITE, _RESIZE = 0, 1, 3


def is_used(fd: int, *, write: bool) -> bool:
    """Whether the locks that other processes hold would keep QEMU from this use of an image.

    Whoever writes denies all others writing, so any user at all is in the way of a writer; readers bear each other.
    """
    if write:
        return _is_locked(fd, _USES, _PERMISSIONS) or _is_locked(fd, _DENIES, _PERMISSIONS)
    writers = _is_locked(fd, _USES + _WRITE, 1) or _is_locked(fd, _USES + _RESIZE, 1)
    return writers or _is_locked(fd, _DENIES + _CONSISTENT_READ, 1)


def _is_locked(fd: int, start: int, length: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        answer = fcntl.fcntl(fd, _OFD_GETLK, asked)
    except OSError:
        # A file system without locks: there QEMU takes none either.
        return False
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

"""The lock that makes two QEMUs on one guest impossible.

A flock belongs to the open file, not to the process: QEMU inherits the file and never touches it, the supervisor
closes its own copy, and so the lock lives exactly as long as QEMU does. It can be neither stale nor forgotten.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from qsup.errors import LaunchError

if TYPE_CHECKING:
    from pathlib import Path


def acquire(path: Path) -> int:
    """Open and lock the file; return its fd. Raise LaunchError if somebody holds the lock, or it cannot be locked."""
    try:
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if _lock(fd, path):
                return fd
            # The file was replaced between open and lock: what is locked is not what others would lock.
            os.close(fd)
    except BlockingIOError:
        raise LaunchError(
            f"another process holds the lock {path}: a QEMU of this guest still runs (fuser {path} tells its pid)"
        ) from None
    except OSError as error:
        raise LaunchError(f"cannot lock {path}: {error.strerror}") from error


def _lock(fd: int, path: Path) -> bool:
    """Lock the open file; False if its path names another one by now. Closes it if that fails."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return path.exists() and os.fstat(fd).st_ino == path.stat().st_ino


def is_taken(path: Path) -> bool:
    """Whether some process holds the lock, by the kernel's own list: nothing is made, and nothing is locked.

    A list that cannot be read, or a file that is not there, counts as free; so this is for telling only.
    """
    try:
        found = path.stat()
        name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        with open("/proc/locks", encoding="ascii") as file:
            # 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
            return any(line.split()[1:2] == ["FLOCK"] and f" {name} " in line for line in file)
    except OSError:
        return False


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now, or may hold it: what cannot be locked is not free."""
    try:
        os.close(acquire(path))
    except LaunchError:
        return True
    return False

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
    """Open and lock the file; return its fd. Raise LaunchError if somebody holds the lock."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise LaunchError(
                f"another process holds the lock {path}: a QEMU of this guest still runs (fuser {path} tells its pid)"
            ) from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        # The file was replaced between open and lock: what is locked is not what others would lock.
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        os.close(acquire(path))
    except LaunchError:
        return True
    return False

"""Whether the kernel gives us io_uring: it may be too old, switched off, or kept from containers."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_IO_URING_SETUP: Final = 425
"""The system call's number, on all architectures."""
_PARAMS: Final = 120
"""Bytes of ``struct io_uring_params``."""


def io_uring() -> bool:
    """Whether QEMU, which is this user, can have it. Only trying tells."""
    fd: int = ctypes.CDLL(None).syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(_PARAMS))
    if fd < 0:
        return False
    os.close(fd)
    return True

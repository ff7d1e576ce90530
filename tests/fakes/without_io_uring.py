"""Becomes another command, for which the kernel has no io_uring: ``without_io_uring.py COMMAND ARGUMENT…``.

A system call filter answers EPERM, as those of containers do.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Final

NO_NEW_PRIVS: Final = 38
SECCOMP: Final = 22
FILTER: Final = 2
PROGRAM: Final = (
    (0x20, 0, 0, 0),  # load the system call's number
    (0x15, 0, 1, 425),  # io_uring_setup?
    (0x06, 0, 0, 0x00050001),  # EPERM
    (0x06, 0, 0, 0x7FFF0000),  # allow
)


class Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def main() -> None:
    """Install the filter and execute the command."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in PROGRAM))
    program = Program(len(PROGRAM), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(program)):
        sys.exit("no system call filter can be installed here")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()

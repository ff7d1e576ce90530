"""Passwords in files."""

from __future__ import annotations

import os
import stat
from typing import Final

from qsup.errors import LaunchError

LINE_END: Final = len("\r\n")


def read_secret(path: str, most: int) -> bytes:
    """What a password file holds, without a line's end: UTF-8, at most so many bytes.

    Raises OSError, and LaunchError for what is no password; no message shows any of it.
    """
    # Whoever opens a FIFO would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LaunchError(f"{path} is no regular file")
        content = file.read(most + LINE_END + 1)
    password = content.removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise LaunchError(f"{path} is empty")
    if len(password) > most:
        raise LaunchError(f"{path} holds more than the {most} bytes that a password can have here")
    try:
        password.decode()
    except UnicodeDecodeError:
        raise LaunchError(f"{path} is no UTF-8") from None
    if any(byte < ord(" ") for byte in password):
        raise LaunchError(f"{path} holds more than one line, or control characters, so it is no password")
    return password

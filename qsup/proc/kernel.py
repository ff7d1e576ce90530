"""What the kernel tells in files below /proc and /sys."""

from __future__ import annotations

from typing import Final

LIMIT: Final = 64 << 10
"""Bytes that are read of one file."""


def read(path: str) -> str:
    """Such a file as text, without blanks around it; the empty text if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(LIMIT).decode(errors="replace").strip()
    except OSError:
        return ""

"""What is wrong with a file, said so that it can be mended at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable


MESSAGE_LIMIT: Final = 500
"""Characters; longer ones quote what somebody has put into a file by mistake."""


class Problem(msgspec.Struct, frozen=True):
    """One problem: ``file`` as the operator knows it, ``line`` from 1 if it is known, the dotted ``key``."""

    file: str
    line: int | None
    key: str
    message: str
    also: tuple[str, ...] = ()
    """The other guests that it is about: one that claims the same, those of a circle."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "virtio-blk"?``, or nothing if no known word is near."""
    import difflib  # Only what is wrong needs it, and most files are right.

    near = difflib.get_close_matches(word[:64], list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def quoted(words: Iterable[str]) -> str:
    """Words as a list in a sentence."""
    return ", ".join(f'"{word}"' for word in words)


def printable(text: str) -> str:
    """The text on one line, with nothing in it that a terminal or an encoder would stumble over."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def clipped(message: str) -> str:
    """A message of bounded length, printable."""
    return printable(message if len(message) <= MESSAGE_LIMIT else f"{message[:MESSAGE_LIMIT]}…")


def shown(value: object) -> str:
    """A value as TOML writes it, short and on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{printable(value if len(value) <= 60 else f"{value[:60]}…")}"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return "an integer beyond 64 bits"
    return str(value)[:60]

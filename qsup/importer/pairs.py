"""QEMU's comma form, read: words between commas, where a doubled one belongs to its word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def parts(text: str) -> Iterator[str]:
    """Split at single commas; of doubled ones one is left, which belongs to the value."""
    part = ""
    index = 0
    while index < len(text):
        if text.startswith(",,", index):
            part += ","
            index += 2
        elif text[index] == ",":
            yield part
            part = ""
            index += 1
        else:
            part += text[index]
            index += 1
    if part or text:
        yield part

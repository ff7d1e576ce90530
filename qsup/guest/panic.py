"""The words of a guest's kernel as it panics, found in what it has printed. Pure."""

from __future__ import annotations

import re
from typing import Final

_ANSI: Final = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])")
_WORDS: Final = (
    re.compile(rb"Kernel panic - not syncing: ?[^\r\n]{0,300}"),
    re.compile(rb"BUG: [^\r\n]{1,300}"),
    re.compile(rb"Oops: [^\r\n]{1,300}"),
    re.compile(rb"panic(?:\[[^\]\r\n]{0,40}\])?: [^\r\n]{1,300}"),
)
"""Of Linux; and of the BSDs, whose kernels say `panic: …`. The first that is found counts."""


def panic_message(printed: bytes) -> str | None:
    """The last panic in the end of a console, as one line; None if there is none."""
    text = _ANSI.sub(b"", printed)
    for pattern in _WORDS:
        found = pattern.findall(text)
        if found:
            return str(found[-1].decode(errors="replace").strip())
    return None

"""Keys and values as TOML writes them. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_WIDTH: Final = 100


def dotted_key(path: tuple[str, ...]) -> str:
    """A path of keys: ``disk.root``, ``disk."my root"``."""
    return ".".join(part if _BARE.fullmatch(part) else string(part) for part in path)


def value(of: Any) -> str:
    """A value on one line, but for arrays that are too long for that; dates and times as they are."""
    if isinstance(of, bool):
        return "true" if of else "false"
    if isinstance(of, str):
        return string(of)
    if isinstance(of, dict):
        inner = ", ".join(f"{dotted_key((key,))} = {value(item)}" for key, item in of.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(of, list | tuple):
        words = [value(item) for item in of]
        line = f"[{', '.join(words)}]"
        return line if len(line) <= _WIDTH else "[\n" + "".join(f"    {word},\n" for word in words) + "]"
    return str(of)


def string(text: str) -> str:
    """A basic string; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

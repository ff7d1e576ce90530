"""What the command prints: text and JSON to standard output, complaints to standard error."""

from __future__ import annotations

import json
import sys
from typing import Any


def show(text: str) -> None:
    """Print text as it is; what the terminal's encoding lacks is shown as escapes."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def show_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as JSON."""
    show(json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def complain(text: str) -> None:
    """Print a complaint, each line after the command's name, as programs do."""
    # What was printed so far comes first where both streams end up in one place.
    sys.stdout.flush()
    for line in text.splitlines():
        print(f"qsup: {line}", file=sys.stderr)  # noqa: T201 - this is what the module is for

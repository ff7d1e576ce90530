"""Text for terminals: escaping, columns, colours, durations. Imports nothing, so that the command can use it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Terminals act on C0 and C1 controls, and the others reorder or hide what is written after them.
_CONTROLS = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
]
_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}
_ESCAPED_BUT_LINES = {code: escape for code, escape in _ESCAPED.items() if code not in (0x09, 0x0A)}

_COLORS = {
    "running": "32",
    "starting": "33",
    "stopping": "33",
    "paused": "33",
    "backoff": "33",
    "gave-up": "31",
    "unreachable": "31",
}


def printable(text: str) -> str:
    """The text on one line, with control characters shown as escapes: safe on any terminal."""
    return text.translate(_ESCAPED)


def printable_lines(text: str) -> str:
    """The same for text of several lines: newlines and tabs stay, the carriage return before a newline goes."""
    return text.replace("\r\n", "\n").translate(_ESCAPED_BUT_LINES)


def colored(phase: str, *, color: bool) -> str:
    """A phase's name in its colour, if colour is wanted and it has one."""
    code = _COLORS.get(phase) if color else None
    return f"\x1b[{code}m{phase}\x1b[m" if code else phase


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cells of header and rows, each padded to its column; the last column is left as it is."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        line[:-1] = [cell.ljust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True)]
    return lines


def duration(seconds: float) -> str:
    """A span of time as people say it, two units at most: ``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 d 4 h``."""
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, smaller, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def size(count: int) -> str:
    """A number of bytes in the largest unit that leaves it whole, or with one decimal: ``2 GiB``, ``1.5 GiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:g} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:g} GiB" if value == int(value) else f"{value:.1f} GiB"

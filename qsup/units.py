"""Sizes and durations as people write them: ``"4 GiB"``, ``"90 s"``.

A :class:`Size` is a number of bytes, a :class:`Duration` a number of seconds; both print themselves back in the
form in which a guest file spells them, and reading that form gives the same value again.
"""

from __future__ import annotations

import re
from typing import Final, Self

_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION_UNITS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
"""In microseconds, to which durations are exact: as whole numbers they print and read back without loss."""
_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([A-Za-z]{1,3})", re.ASCII)


class Size(int):
    """A number of bytes, written as ``"512 MiB"``; units are B, KiB, MiB, GiB and TiB."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"4 GiB"``; raise ValueError naming the accepted form."""
        match = _QUANTITY.fullmatch(text.strip())
        if match is None or match[2] not in _SIZE_UNITS:
            raise ValueError(f'{text!r} is not a size; write "4 GiB" (units: {", ".join(_SIZE_UNITS)})')
        whole, _, fraction = match[1].partition(".")
        value, rest = divmod(int(whole + fraction) * _SIZE_UNITS[match[2]], 10 ** len(fraction))
        if rest:
            raise ValueError(f"{text!r} is not a whole number of bytes")
        return cls(value)

    def __str__(self) -> str:
        for unit, factor in reversed(_SIZE_UNITS.items()):
            if self and self % factor == 0:
                return f"{int(self) // factor} {unit}"
        return f"{int(self)} B"

    def __repr__(self) -> str:
        return f'Size("{self}")'


class Duration(float):
    """A number of seconds, written as ``"90 s"``; units are ms, s, min, h and d."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"90 s"``; raise ValueError naming the accepted form."""
        match = _QUANTITY.fullmatch(text.strip())
        if match is None or match[2] not in _DURATION_UNITS:
            raise ValueError(
                f'{text!r} is not a duration; write "90 s" (units: {", ".join(_DURATION_UNITS)})'
            )
        return cls(round(float(match[1]) * _DURATION_UNITS[match[2]]) / 1_000_000)

    def __str__(self) -> str:
        microseconds = round(float(self) * 1_000_000)
        for unit, factor in reversed(_DURATION_UNITS.items()):
            if microseconds and microseconds % factor == 0:
                return f"{microseconds // factor} {unit}"
        return f"{microseconds / 1000:.3f}".rstrip("0").rstrip(".") + " ms" if microseconds else "0 s"

    def __repr__(self) -> str:
        return f'Duration("{self}")'

"""Sets of small numbers as Linux writes them, ``"0-3,8"``: CPUs and NUMA nodes. Pure."""

from __future__ import annotations

from typing import Annotated, Final

from qsup.spec.base import form

MOST_NUMBER: Final = 8191
"""Linux numbers no more CPUs (NR_CPUS on x86) and fewer nodes."""
_NUMBERS: Final = form(
    r"^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?){0,255}$(?!\n)",
    'write numbers and ranges with commas between them: "0-3,8"',
)
Numbers = Annotated[str, _NUMBERS]


def numbers(text: str) -> frozenset[int]:
    """The numbers that a text of this form names; raise ValueError, with a sentence, for what names none."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if low > high:
            raise ValueError(f'"{part}" runs backwards; write "{high}-{low}"')
        if high > MOST_NUMBER:
            raise ValueError(f"{high} is out of range; allowed: 0 to {MOST_NUMBER}")
        found.update(range(low, high + 1))
    return frozenset(found)


def trouble(text: str) -> str | None:
    """Why a text of this form names no set of numbers; None if it does."""
    try:
        numbers(text)
    except ValueError as error:
        return str(error)
    return None


def spelled(values: frozenset[int]) -> str:
    """The shortest text for a set of numbers: ``0-3,8``."""
    parts: list[list[int]] = []
    for value in sorted(values):
        if parts and value == parts[-1][-1] + 1:
            parts[-1][1:] = [value]
        else:
            parts.append([value])
    return ",".join("-".join(str(end) for end in part) for part in parts)

"""How libvirt spells sizes, switches and choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.spec.problem import quoted
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.importer.draft import Draft
    from qsup.importer.xml import Element

UNITS: Final[dict[str, int]] = {
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb", "pb"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib", "pib"), 1)},
    **{unit: 1024**power for power, unit in enumerate("kmgtp", 1)},
}
"""Scaled integers of libvirt, in bytes."""
MIB: Final = 1 << 20
ON: Final = "on"
SWITCH: Final = {"yes": True, "on": True, "no": False, "off": False}


class Reader:
    """An element being read into a draft; what is noted meanwhile comes from its line."""

    def __init__(self, draft: Draft, element: Element) -> None:
        self.draft = draft
        self.element = element
        draft.here = at(element)

    def pick(
        self, element: Element | None, attribute: str, known: Mapping[str, str], default: str | None = None
    ) -> str | None:
        """The counterpart of an attribute's value; one that has none is noted."""
        value = element.get(attribute) if element is not None else None
        if value is None or element is None:
            return default
        if value not in known:
            self.lost(element, f"qsup has no counterpart for this {attribute}; it knows {quoted(known)}")
            return default
        return known[value]

    def lost(self, element: Element, why: str) -> None:
        """Note an element without counterpart; there is no more to tell of it."""
        self.draft.here = at(element)
        self.draft.lost(element.shown(), why)
        element.settle()
        self.draft.here = at(self.element)


def at(element: Element) -> str:
    """Where an element stands."""
    return f"line {element.line}"


def switch(element: Element | None, attribute: str) -> bool | None:
    """What an attribute switches: on, off, or nothing said."""
    return None if element is None else SWITCH.get(element.get(attribute) or "")


def number(text: str | None) -> int | None:
    """A whole number, hexadecimal after ``0x``."""
    try:
        return None if text is None else int(text.strip()[:20], 0)
    except ValueError:
        return None


def size(element: Element | None, default_unit: str = "KiB") -> int | None:
    """The bytes that an element's text says, in the unit it names."""
    if element is None:
        return None
    value = number(element.text)
    unit = UNITS.get((element.get("unit") or default_unit).lower())
    return None if value is None or unit is None else value * unit


def whole_mib(count: int) -> str:
    """Bytes as a guest file writes them, rounded up to MiB as libvirt itself does for QEMU."""
    return str(Size(-(-count // MIB) * MIB))


def exact(count: int) -> str:
    """Bytes as a guest file writes them."""
    return str(Size(count))


def cpu_flag(draft: Draft, name: str, state: str | None) -> None:
    """Switch a feature of the CPU, if the domain says how."""
    if state is not None:
        draft.set("cpu", "features", name, to=state == ON)


def every(root: Element, *path: str) -> list[Element]:
    """All elements of the last name below the first elements of the names before it."""
    above = root.child(*path[:-1])
    return above.children(path[-1]) if above is not None else []

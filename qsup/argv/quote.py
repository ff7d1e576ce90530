"""Text into option values: the only two ways, and what neither can carry.

QEMU reads ``-device``, ``-blockdev``, ``-netdev`` and ``-object`` as JSON, where every string stays a string. The
other options know only ``key=value,key=value``, in which a comma that belongs to a value is doubled.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.argv.invocation import Option
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, of which NUL would end the word, and halves of surrogate pairs, which are no text."""


def plain(text: str) -> str:
    """A word as it is; raises SpecError if it cannot stand in a command line, or not be shown in one."""
    found = _UNPRINTABLE.search(text)
    if found:
        raise SpecError(
            f"{text!r} has the character {found[0]!r}, which a command line of QEMU cannot carry; remove it"
        )
    return text


def comma(text: str) -> str:
    """A value for the comma form, after its ``key=``."""
    return plain(text).replace(",", ",,")


def pairs(first: str = "", /, **values: str | int | bool) -> str:
    """The comma form: ``first`` as it is, if there is one, then each value quoted; booleans are on and off.

    An underscore in a key stands for the hyphen in QEMU's.
    """
    words = [f"{key.replace('_', '-')}={comma(_spell(value))}" for key, value in values.items()]
    return ",".join([first, *words] if first else words)


def as_json(flag: str, members: Mapping[str, object]) -> Option:
    """An option with a JSON object as its value; a member that is None is left out."""
    present = {key: value for key, value in members.items() if value is not None}
    _check(present)
    return Option(flag, json.dumps(present, ensure_ascii=False, separators=(",", ":")))


def device(members: Mapping[str, object]) -> Option:
    """A ``-device`` in JSON."""
    return as_json("-device", members)


def sourced(source: tuple[str, ...], options: Iterable[Option]) -> Iterator[Option]:
    """The options, each marked with the table or key of the file that it comes from, unless it is already."""
    for option in options:
        yield option if option.source else msgspec.structs.replace(option, source=source)


def _check(value: object) -> None:
    """Look at every string: JSON would only hide a control character behind an escape."""
    if isinstance(value, str):
        plain(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check(inner)


def _spell(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)

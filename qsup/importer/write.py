"""A guest file as text: tables in the order of the declarations, and the notes as comments. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin, get_type_hints

from qsup.importer.draft import Severity
from qsup.spec.base import Section
from qsup.spec.explain import bare
from qsup.spec.model import GuestSpec
from qsup.spec.problem import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsup.importer.draft import Note

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_WIDTH: Final = 100
_HEADINGS: Final = {
    Severity.LOST: "Without counterpart:",
    Severity.PASSED: "Kept in qemu.args, where qsup looks no further into it:",
}


def written(table: dict[str, Any], notes: Sequence[Note] = ()) -> str:
    """The text of a file that says what ``table`` says; notes on what is lost or only passed on stand on top."""
    blocks = ["\n".join(_comments(notes)), "\n".join(_lines(table, _order())).strip("\n")]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _order() -> dict[str, Any]:
    """The keys of a guest file in their order, each with its declared type."""
    hints = get_type_hints(GuestSpec)
    names = zip(GuestSpec.__struct_fields__, GuestSpec.__struct_encode_fields__, strict=True)
    return {key: bare(hints[field]) for field, key in names}


def _comments(notes: Sequence[Note]) -> Iterator[str]:
    for severity, heading in _HEADINGS.items():
        told = [note for note in notes if note.severity is severity]
        if told:
            yield f"# {heading}"
        for note in told:
            yield from textwrap.wrap(
                printable(str(note)),
                _WIDTH,
                initial_indent="# - ",
                subsequent_indent="#   ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def _lines(table: dict[str, Any], declared: dict[str, Any]) -> Iterator[str]:
    keys = sorted(table, key=lambda key: list(declared).index(key) if key in declared else len(declared))
    tables = [key for key in keys if isinstance(table[key], dict)]
    for key in keys:
        if key not in tables:
            yield f"{_key(key)} = {_value(table[key])}"
    for key in tables:
        if get_origin(declared.get(key)) is dict and get_args(declared[key]):
            for name, entry in table[key].items():
                yield from _table((key, name), entry)
        else:
            yield from _table((key,), table[key], declared.get(key))


def _table(path: tuple[str, ...], entry: dict[str, Any], kind: Any = None) -> Iterator[str]:
    """A table with its header; tables in it that are declared as such follow, all others are written inline."""
    apart = [key for key, value in entry.items() if isinstance(value, dict) and _is_section(kind, key)]
    yield ""
    if len(apart) < len(entry) or not entry:
        yield f"[{'.'.join(_key(part) for part in path)}]"
        yield from (f"{_key(key)} = {_value(value)}" for key, value in entry.items() if key not in apart)
    for key in apart:
        yield from _table((*path, key), entry[key])


def _is_section(kind: Any, key: str) -> bool:
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return False
    hints = get_type_hints(kind)
    names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    inner = bare(hints.get(names.get(key, ""), str))
    return isinstance(inner, type) and issubclass(inner, Section)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        words = [_value(inner) for inner in value]
        line = f"[{', '.join(words)}]"
        return line if len(line) <= _WIDTH else "[\n" + "".join(f"    {word},\n" for word in words) + "]"
    return _string(str(value))


def _string(text: str) -> str:
    """A basic string; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

"""A spec as the guest file that says the same. Pure."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from qsup.spec.codec import plain
from qsup.spec.specifiers import literal
from qsup.spec.toml import dotted_key, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Section


def said(section: Section) -> dict[str, Any]:
    """The keys of a guest, or of one of its tables, that differ from what holds without them, in a file's words."""
    return {
        field.encode_name: _said(given)
        for field in _fields(type(section))
        if field.name not in section.not_in_files
        and (given := getattr(section, field.name)) != _default(field)
    }


@cache
def _fields(kind: type[Section]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _said(given: Any) -> Any:
    if isinstance(given, msgspec.Struct):
        return said(given)  # type: ignore[arg-type]  # all structs in a spec are sections
    if isinstance(given, dict):
        return {key: _said(inner) for key, inner in given.items()}
    if isinstance(given, list | tuple):
        return [_said(inner) for inner in given]
    return plain(given)


def document(table: dict[str, Any]) -> str:
    """A guest's table as the text of its file, in which no percent sign begins a specifier."""
    return "\n".join(_lines(literal(table), ())).lstrip("\n") + "\n"


def _lines(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    own = {key: inner for key, inner in table.items() if not isinstance(inner, dict)}
    if path and (own or not table):
        yield from ("", f"[{dotted_key(path)}]")
    yield from (f"{dotted_key((key,))} = {value(inner)}" for key, inner in own.items())
    for key, inner in table.items():
        if key not in own:
            yield from _lines(inner, (*path, key))

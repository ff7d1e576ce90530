"""Why a table of a file does not fit its declaration: all reasons at once.

msgspec checks fast and stops at the first error. When it has refused, this walk goes over the declared types once
more and asks msgspec about each value by itself, so that what counts as an error is decided in one place.
"""

from __future__ import annotations

import types
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from qsup.spec.codec import decode_hook
from qsup.spec.model import HostPath, Section
from qsup.spec.problem import nearest, quoted, shown
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]
Finding = tuple[Path, str]


def explain(
    section: type[Section], table: dict[str, Any], base: str, skip: frozenset[str] = frozenset()
) -> list[Finding]:
    """All that keeps a table from being this section: paths of keys, and what is wrong with each.

    ``base`` is where relative paths start; fields in ``skip`` are not keys of the file.
    """
    return list(_section(section, table, (), base, skip))


def _section(
    section: type[Section], table: object, path: Path, base: str, skip: frozenset[str]
) -> Iterator[Finding]:
    if not isinstance(table, dict):
        yield path, f"must be a table, not {shown(table)}; write [{_dotted(path)}]"
        return
    hints = get_type_hints(section, include_extras=True)
    fields = {
        key: (name, hints[name])
        for name, key in zip(section.__struct_fields__, section.__struct_encode_fields__, strict=True)
        if name not in skip
    }
    for key, value in table.items():
        if key in fields:
            yield from _value(fields[key][1], value, (*path, key), base)
        else:
            allowed = f"; known keys: {quoted(fields)}" if len(fields) <= 8 else ""
            yield (*path, key), f"unknown key{allowed}{nearest(key, fields)}"
    for required in _required(section):
        if required not in table and required in fields:
            yield (*path, required), "is missing"


def _required(section: type[Section]) -> Iterator[str]:
    info = msgspec.structs.fields(section)
    for field in info:
        if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
            yield field.encode_name


def _value(declared: Any, value: object, path: Path, base: str) -> Iterator[Finding]:
    inner = bare(declared)
    if isinstance(inner, type) and issubclass(inner, Section):
        yield from _section(inner, value, path, base, frozenset())
    elif get_origin(inner) is dict:
        yield from _tables(get_args(inner), value, path, base)
    elif get_origin(inner) is tuple:
        yield from _array(declared, get_args(inner)[0], value, path, base)
    else:
        trouble = _trouble(declared, value, base)
        if trouble:
            yield path, trouble


def _tables(kinds: tuple[Any, Any], value: object, path: Path, base: str) -> Iterator[Finding]:
    """A table of tables, each under an id."""
    if not isinstance(value, dict):
        yield path, f"must be a table of tables, not {shown(value)}; write [{_dotted(path)}.ID]"
        return
    for key, table in value.items():
        if _trouble(kinds[0], key, base):
            yield (
                (*path, key),
                f"{shown(key)} is no id: a letter, then up to 19 letters, digits, or any of _ . -",
            )
        yield from _value(kinds[1], table, (*path, key), base)


def _array(declared: Any, item: Any, value: object, path: Path, base: str) -> Iterator[Finding]:
    if not isinstance(value, list):
        hint = f"; write [{shown(value)}]" if isinstance(value, str) else ""
        yield path, f"must be an array, not {shown(value)}{hint}"
        return
    found = [
        finding for number, one in enumerate(value) for finding in _value(item, one, (*path, number), base)
    ]
    yield from found
    if not found:
        trouble = _trouble(declared, value, base)
        if trouble:
            yield path, trouble


def _trouble(declared: Any, value: object, base: str) -> str | None:
    """Why this value does not fit, in words; None if it does."""
    try:
        msgspec.convert(value, declared, strict=True, dec_hook=decode_hook(base))
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        return _in_words(declared, value, str(error))
    return None


def _in_words(declared: Any, value: object, error: str) -> str:
    inner = bare(declared)
    if isinstance(inner, type) and issubclass(inner, Enum):
        words = [member.value for member in inner]
        near = nearest(value, words) if isinstance(value, str) else ""
        return f"{shown(value)} is not allowed; allowed: {quoted(words)}{near}"
    if not _fits_kind(inner, value):
        return f"must be {_kind(inner)}, not {shown(value)}"
    plain = error.partition(" - at `")[0]
    if inner in (Size, Duration, HostPath):
        return plain
    plain = plain.replace("`", "").removeprefix("Expected ")
    if "matching regex" in plain:
        return f"{shown(value)} has a form that is not allowed ({_form(declared)})"
    return (
        plain
        if shown(value) in plain or repr(value) in plain
        else f"{shown(value)} is not allowed: expected {plain}"
    )


def _fits_kind(kind: Any, value: object) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, int)
    return isinstance(value, str)


def _kind(kind: Any) -> str:
    """A declared type in TOML's words."""
    names: dict[Any, str] = {
        bool: "true or false",
        int: "an integer",
        str: "a string",
        HostPath: "a path, as a string",
        Size: 'a size, as a string such as "4 GiB"',
        Duration: 'a duration, as a string such as "90 s"',
    }
    return names.get(kind, "a string")


def _form(declared: Any) -> str:
    """The pattern that a string must match."""
    while get_origin(declared) is Annotated or get_origin(declared) in (types.UnionType, Union):
        for extra in getattr(declared, "__metadata__", ()):
            if isinstance(extra, msgspec.Meta) and extra.pattern:
                return f"it must match {extra.pattern}"
        declared = get_args(declared)[0]
    return "see the reference"


def bare(declared: Any) -> Any:
    """A declared type without annotations and without ``| None``."""
    while True:
        origin = get_origin(declared)
        if origin is Annotated:
            declared = get_args(declared)[0]
        elif origin in (types.UnionType, Union):
            declared = next(kind for kind in get_args(declared) if kind is not types.NoneType)
        else:
            return declared


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)

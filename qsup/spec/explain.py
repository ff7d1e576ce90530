"""Why a table of a file does not fit its declaration: all reasons at once.

msgspec checks fast and stops at the first error. When it has refused, this walk goes over the declared types once
more and asks msgspec about each value by itself, so that what counts as an error is decided in one place.
"""

from __future__ import annotations

import types
from enum import Enum
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from qsup.spec.base import Account, Finding, HostPath, Path, Section
from qsup.spec.codec import decode_hook
from qsup.spec.problem import nearest, quoted, shown
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT: Final = 50
"""Problems of one file that are told; who has more has one cause for most of them."""


def explain(
    section: type[Section], table: dict[str, Any], base: str, skip: frozenset[str] = frozenset()
) -> list[Finding]:
    """What keeps a table from being this section: paths of keys, and what is wrong with each; ``LIMIT`` at most.

    ``base`` is where relative paths start; keys in ``skip`` are not keys of the file.
    """
    return list(islice(_section(section, table, (), base, skip), LIMIT))


def _section(
    section: type[Section], table: object, path: Path, base: str, skip: frozenset[str]
) -> Iterator[Finding]:
    if not isinstance(table, dict):
        yield path, f"must be a table, not {shown(table)}; write [{_dotted(path)}]"
        return
    fields = {key: declared for key, declared in _declared(section).items() if key not in skip}
    for key, value in table.items():
        if key in fields:
            yield from _value(fields[key], value, (*path, key), base)
        else:
            allowed = f"; known keys: {quoted(fields)}" if len(fields) <= 8 else ""
            yield (*path, key), f"unknown key{allowed}{nearest(key, fields)}"
    for required in _required(section):
        if required not in table and required in fields:
            yield (*path, required), "is missing"


@cache
def _declared(section: type[Section]) -> dict[str, Any]:
    """The declared type of every key; resolving them costs more than the walk over a file."""
    hints = get_type_hints(section, include_extras=True)
    names = zip(section.__struct_fields__, section.__struct_encode_fields__, strict=True)
    return {key: hints[name] for name, key in names}


def _required(section: type[Section]) -> Iterator[str]:
    for field in msgspec.structs.fields(section):
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
    """A table whose keys the file chooses: of tables, each under an id, or of values."""
    if not isinstance(value, dict):
        inner = bare(kinds[1])
        of_tables = isinstance(inner, type) and issubclass(inner, Section)
        write = f"[{_dotted(path)}.ID]" if of_tables else "{ NAME = … }"
        yield path, f"must be a table{' of tables' * of_tables}, not {shown(value)}; write {write}"
        return
    for key, table in value.items():
        if _trouble(kinds[0], key, base):
            words = next(_words(meta) for meta in metas(kinds[0]) if meta.pattern is not None)
            yield (*path, key), f"{shown(key)} is not allowed: {words}"
        yield from _value(kinds[1], table, (*path, key), base)


def _array(declared: Any, item: Any, value: object, path: Path, base: str) -> Iterator[Finding]:
    if not isinstance(value, list):
        inner = bare(item)
        if isinstance(inner, type) and issubclass(inner, Section):
            hint = f"; write [[{_dotted(path)}]]"
        else:
            hint = f"; write [{shown(value)}]" if isinstance(value, str) else ""
        yield path, f"must be an array, not {shown(value)}{hint}"
        return
    most = next((meta.max_length for meta in metas(declared) if meta.max_length is not None), None)
    if most is not None and len(value) > most:
        yield path, f"holds {len(value)} values; at most {most} are allowed"
        return
    for number, one in enumerate(value):
        yield from _value(item, one, (*path, number), base)


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
    if inner in (Size, Duration, HostPath, Account):
        return error.partition(" - at `")[0]
    if is_secret(declared):
        return f"what stands there {_violation(declared, value)}"
    return f"{shown(value)} {_violation(declared, value)}"


def is_secret(declared: Any) -> bool:
    """Whether nobody is to see values of this declared type."""
    return any((meta.extra or {}).get("secret") for meta in metas(declared))


def _violation(declared: Any, value: object) -> str:
    """Which limit of its declaration a value of the right type exceeds."""
    limits = tuple(metas(declared))
    for meta in limits:
        if meta.ge is not None and meta.le is not None:
            return f"is out of range; allowed: {meta.ge} to {meta.le}"
        if meta.max_length is not None and isinstance(value, str) and len(value) > meta.max_length:
            return f"is too long; at most {meta.max_length} characters are allowed"
    for meta in limits:
        if meta.pattern is not None:
            return f"is not allowed: {_words(meta)}"
    return "is not allowed"


def _words(meta: msgspec.Meta) -> str:
    """A pattern in words."""
    return str((meta.extra or {})["form"])


def _fits_kind(kind: Any, value: object) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, int)
    if kind is Account:
        return isinstance(value, str | int)
    return isinstance(value, str)


def _kind(kind: Any) -> str:
    """A declared type in TOML's words."""
    names: dict[Any, str] = {
        bool: "true or false",
        int: "an integer",
        str: "a string",
        HostPath: "a path, as a string",
        Account: "a name or a number",
        Size: 'a size, as a string such as "4 GiB"',
        Duration: 'a duration, as a string such as "90 s"',
    }
    return names.get(kind, "a string")


def metas(declared: Any) -> Iterator[msgspec.Meta]:
    """The limits that a declaration sets, the outermost first."""
    while get_origin(declared) in (Annotated, types.UnionType, Union):
        if get_origin(declared) is Annotated:
            yield from (extra for extra in declared.__metadata__ if isinstance(extra, msgspec.Meta))
        declared = get_args(declared)[0]


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

"""JSON Schema of the files, out of the declarations: for editors that complete and check TOML by it. Pure.

It is draft 07, which taplo and the editors that use it read. Nothing is required by it: what a guest's file leaves out
may stand in a profile, a template or a drop-in. And a string that a pattern restricts may hold a specifier instead.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import msgspec

from qsup.spec.base import COMMON, Account, HostPath, Section
from qsup.spec.codec import HIGHEST_ID, PATH_LIMIT, plain
from qsup.spec.explain import bare, metas
from qsup.spec.keys import keys, text_of
from qsup.spec.model import DaemonConfig, GuestSpec
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.spec.keys import Key

FILES: Final[Mapping[str, tuple[type[Section], frozenset[str]]]] = {
    "guest": (GuestSpec, frozenset()),
    "profile": (GuestSpec, frozenset({"profile"})),
    "daemon": (DaemonConfig, frozenset()),
}
"""The kinds of files: what each declares, and the keys that it may not have all the same."""
_QUANTITY: Final = r"^[0-9]{1,18}(\.[0-9]{1,6})? ?"
_KINDS: Final[Mapping[Any, dict[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    HostPath: {"type": "string", "minLength": 1, "maxLength": PATH_LIMIT},
    Account: {"type": ["string", "integer"], "minLength": 1, "minimum": 0, "maximum": HIGHEST_ID},
    Size: {"type": "string", "pattern": rf"{_QUANTITY}(B|KiB|MiB|GiB|TiB)$|%", "examples": ["4 GiB"]},
    Duration: {"type": "string", "pattern": rf"{_QUANTITY}(ms|s|min|h|d)$|%", "examples": ["90 s"]},
}


def schema(kind: str) -> dict[str, Any]:
    """The schema of a kind of file, one of ``FILES``."""
    section, without = FILES[kind]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"qsup: {kind} file",
        **_table(section, without),
    }


def _table(section: type[Section], without: frozenset[str] = frozenset()) -> dict[str, Any]:
    return {
        "type": "object",
        "description": text_of(section),
        "additionalProperties": False,
        "properties": {key.name: _key(key) for key in keys(section) if key.name not in without},
    }


def _key(key: Key) -> dict[str, Any]:
    if key.table is not None:
        table = _table(key.table)
        if key.array:
            return {
                "type": "array",
                "description": table["description"],
                "items": table,
                **_most(key.declared),
            }
        if not key.many:
            return table
        ids = _limits(get_args(key.kind)[0], specifiers=False)
        return {
            "type": "object",
            "description": table["description"],
            "propertyNames": {**ids, "pattern": rf"{ids['pattern']}|^\{COMMON}$"},
            "additionalProperties": table,
        }
    counterpart = f" QEMU: {key.qemu}." if key.qemu else ""
    known: dict[str, Any] = {"description": f"{key.description}{counterpart}", **_value(key.declared)}
    if key.default is not msgspec.NODEFAULT and key.default is not None:
        known["default"] = plain(key.default)
    return known


def _value(declared: Any) -> dict[str, Any]:
    kind = bare(declared)
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _value(get_args(kind)[0]), **_most(declared)}
    if get_origin(kind) is dict:
        name, inner = get_args(kind)
        names = _limits(name, specifiers=False)
        return {"type": "object", "propertyNames": names, "additionalProperties": _value(inner)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"type": "string", "enum": [member.value for member in kind]}
    return {**_KINDS[kind], **_limits(declared)}


def _most(declared: Any) -> dict[str, Any]:
    """How many values an array may hold."""
    most = next((meta.max_length for meta in metas(declared) if meta.max_length is not None), None)
    return {} if most is None else {"maxItems": most}


def _limits(declared: Any, *, specifiers: bool = True) -> dict[str, Any]:
    """The limits that a declaration sets to a number or a text."""
    names = {"ge": "minimum", "le": "maximum", "min_length": "minLength", "max_length": "maxLength"}
    limits: dict[str, Any] = {}
    for meta in metas(declared):
        for theirs, ours in names.items():
            value = getattr(meta, theirs)
            if value is not None:
                limits.setdefault(ours, value)
        if meta.pattern is not None:
            # In the language of JSON Schema a dollar is the end of the text, whatever follows.
            pattern = str(meta.pattern).removesuffix(r"(?!\n)")
            limits.setdefault("pattern", f"{pattern}|%" if specifiers else pattern)
    return limits

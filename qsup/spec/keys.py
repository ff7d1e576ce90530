"""Every key that a file may have, out of the declarations: what reference, schema and ``qsup explain`` are made of.

Pure.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from qsup.spec.base import Section
from qsup.spec.explain import bare, metas

if TYPE_CHECKING:
    from collections.abc import Iterator


class Key(NamedTuple):
    """A key of a table, as declared."""

    field: str
    """Its name in Python."""
    name: str
    declared: Any
    """Its type, with what is annotated."""
    default: Any
    """``msgspec.NODEFAULT`` if it must be there."""
    table: type[Section] | None
    """The table that it is, if it is one, or that each of its values is."""
    many: bool
    """It is a table of tables, each under an id."""
    array: bool
    """It is an array of tables."""

    @property
    def kind(self) -> Any:
        """Its type without annotations and without ``| None``."""
        return bare(self.declared)

    @property
    def description(self) -> str:
        """What it does; for a table, what its declaration says."""
        if self.table is not None:
            return text_of(self.table)
        return next((meta.description for meta in metas(self.declared) if meta.description), "")

    @property
    def qemu(self) -> str | None:
        """Its counterpart in QEMU's words, if it has one."""
        return self._told("qemu")

    @property
    def since(self) -> str | None:
        """The first QEMU that has the counterpart, where that is newer than the oldest one supported."""
        return self._told("since")

    def _told(self, what: str) -> str | None:
        for meta in metas(self.declared):
            if meta.extra and what in meta.extra:
                return str(meta.extra[what])
        return None


class Table(NamedTuple):
    """A table that a file may have: ``path`` is its header, with ``ID`` for an id of the operator's choice."""

    path: tuple[str, ...]
    section: type[Section]
    keys: tuple[Key, ...]
    """Its own keys, without the tables in it."""
    array: bool = False
    """It is one of an array of tables."""

    @property
    def header(self) -> str:
        """What stands in a file above its keys."""
        name = ".".join(self.path)
        return f"[[{name}]]" if self.array else f"[{name}]"


def text_of(section: type[Section]) -> str:
    """What a table is for, in the words of its declaration, on one line."""
    return " ".join((section.__doc__ or "").split())


@cache
def keys(section: type[Section]) -> tuple[Key, ...]:
    """The keys of a table in the order of their declaration, tables included."""
    hints = get_type_hints(section, include_extras=True)
    return tuple(
        _key(field, hints[field.name])
        for field in msgspec.structs.fields(section)
        if field.name not in section.not_in_files
    )


def _key(field: msgspec.structs.FieldInfo, declared: Any) -> Key:
    kind = bare(declared)
    many, array = get_origin(kind) is dict, get_origin(kind) is tuple
    inner = bare(get_args(kind)[1]) if many else bare(get_args(kind)[0]) if array else kind
    table = inner if isinstance(inner, type) and issubclass(inner, Section) else None
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    holds = table is not None
    return Key(field.name, field.encode_name, declared, default, table, many and holds, array and holds)


def tables(section: type[Section], path: tuple[str, ...] = (), *, array: bool = False) -> Iterator[Table]:
    """A table and all tables in it, each with its own keys; the outermost has an empty path."""
    yield Table(path, section, tuple(key for key in keys(section) if key.table is None), array)
    for key in keys(section):
        if key.table is not None:
            inner = (*path, key.name, *(("ID",) if key.many else ()))
            yield from tables(key.table, inner, array=key.array)

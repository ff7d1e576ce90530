"""The declarations themselves: what they must all have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import msgspec

from qsup.spec.base import Section
from qsup.spec.explain import bare
from qsup.spec.keys import tables
from qsup.spec.model import DaemonConfig, GuestSpec

if TYPE_CHECKING:
    from collections.abc import Iterator


def declarations(section: type[Section], head: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its declared type, tables included."""
    for name, declared in get_type_hints(section, include_extras=True).items():
        path = f"{head}{name}"
        inner = bare(declared)
        if get_origin(inner) in (dict, tuple):
            inner = bare(get_args(inner)[get_origin(inner) is dict])
        table = inner
        if isinstance(table, type) and issubclass(table, Section):
            yield from declarations(table, f"{path}.")
        else:
            yield path, declared


def metas(declared: Any) -> Iterator[msgspec.Meta]:
    yield from (extra for extra in getattr(declared, "__metadata__", ()) if isinstance(extra, msgspec.Meta))
    for inner in get_args(declared):
        yield from metas(inner)


def test_every_pattern_has_its_words() -> None:
    for path, declared in [*declarations(GuestSpec), *declarations(DaemonConfig)]:
        for meta in metas(declared):
            assert meta.pattern is None or (meta.extra or {}).get("form"), path


def test_every_key_says_what_it_does() -> None:
    for path, declared in [*declarations(GuestSpec), *declarations(DaemonConfig)]:
        if path != "name":
            assert any(meta.description for meta in metas(declared)), path


def test_a_table_that_no_file_mentions_has_nothing_wrong_with_it() -> None:
    for table in tables(GuestSpec):
        # A table under an id, or of an array, is there only if a file mentions it.
        if table.path[-1:] != ("ID",) and not table.array and table.section is not GuestSpec:
            assert list(table.section().wrong()) == [], table.path

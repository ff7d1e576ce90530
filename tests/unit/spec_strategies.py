"""Hypothesis strategies for guests, made from the declarations: every table and key that there is gets its turn.

Where a key takes free text, the drawn value holds ``MARK``, and :func:`filled` puts a text of one's choice there.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from qsup.spec.base import TEXT, HostPath, Section
from qsup.spec.explain import bare
from qsup.spec.model import GuestSpec
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK: Final = "\ue000"
"""Stands in drawn texts for what :func:`filled` puts there."""
SUPERVISION: Final = frozenset(
    {"name", "description", "profile", "autostart", "after", "restart", "stop", "qemu"}
)
"""Keys of a guest that are not about its machine. What stands in ``qemu`` is given to QEMU as it is."""
TABLES: Final = tuple(field for field in GuestSpec.__struct_fields__ if field not in SUPERVISION)
FEW: Final = 4
"""Keys that are set in one table, at most."""
SIZES: Final = tuple(Size.parse(text) for text in ("1 MiB", "16 MiB", "1 GiB"))


def tables(table: str) -> st.SearchStrategy[Any]:
    """Values of one table of a guest, or of a family of tables by id."""
    return _values(get_type_hints(GuestSpec, include_extras=True)[table])


def filled(value: Any, text: str) -> Any:
    """The value with ``text`` wherever ``MARK`` stands, in keys as well."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return type(value)(value.replace(MARK, text))
    if isinstance(value, msgspec.Struct):
        changes = {field: filled(getattr(value, field), text) for field in value.__struct_fields__}
        return msgspec.structs.replace(value, **changes)
    if isinstance(value, dict):
        return {filled(key, text): filled(inner, text) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(filled(inner, text) for inner in value)
    return value


def _values(declared: Any) -> st.SearchStrategy[Any]:
    inner = bare(declared)
    metas = tuple(_metas(declared))
    if isinstance(inner, type) and issubclass(inner, Section):
        # Few of the tables that are drawn make sense; those that do not are drawn again.
        return _sections(inner).filter(lambda table: not any(table.wrong()))
    if get_origin(inner) is dict:
        key, value = get_args(inner)
        return st.dictionaries(_values(key), _values(value), min_size=1, max_size=3)
    if get_origin(inner) is tuple:
        return st.lists(_values(get_args(inner)[0]), max_size=3).map(tuple)
    if inner is bool:
        return st.booleans()
    if inner is Size:
        return st.sampled_from(SIZES)
    if inner is Duration:
        return st.just(Duration.parse("5 s"))
    if inner is int:
        least = next((meta.ge for meta in metas if meta.ge is not None), 0)
        most = next((meta.le for meta in metas if meta.le is not None), 1 << 16)
        return st.integers(int(least), int(most))
    if inner is HostPath:
        return st.just(HostPath(f"/p{MARK}"))
    if isinstance(inner, type) and issubclass(inner, Enum):
        return st.sampled_from(inner)
    pattern = next((meta.pattern for meta in metas if meta.pattern not in (None, TEXT.pattern)), None)
    return st.from_regex(pattern, fullmatch=True) if pattern else st.just(f"t{MARK}")


@st.composite
def _sections(draw: st.DrawFn, section: type[Section]) -> Section:
    """A table in which a few keys are set, and those that have to be: with many, too few tables make sense."""
    given: dict[str, Any] = {}
    hints = get_type_hints(section, include_extras=True)
    fields = msgspec.structs.fields(section)
    chosen = draw(st.sets(st.sampled_from([field.name for field in fields]), max_size=FEW))
    for field in fields:
        if field.default is msgspec.NODEFAULT or field.name in chosen:
            given[field.name] = draw(_values(hints[field.name]))
    return section(**given)


def _metas(declared: Any) -> Iterator[msgspec.Meta]:
    """All limits of a declaration; those of an array's elements are not its own."""
    if hasattr(declared, "__metadata__"):
        yield from (extra for extra in declared.__metadata__ if isinstance(extra, msgspec.Meta))
        yield from _metas(get_args(declared)[0])
    elif get_origin(declared) not in (tuple, dict):
        for inner in get_args(declared):
            yield from _metas(inner)

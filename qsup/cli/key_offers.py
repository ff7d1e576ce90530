"""Keys of guest files as they are typed, a part at a time, for shells that complete words. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from qsup.cli.offer import FILES
from qsup.errors import UsageError
from qsup.spec.base import HostPath
from qsup.spec.keys import keys, text_of
from qsup.spec.lookup import everything, find
from qsup.spec.model import GuestSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qsup.cli.offer import Offer
    from qsup.spec.base import Section


def explained(typed: str) -> Iterator[Offer]:
    """What ``qsup explain`` has to say something about: up to the next dot after what was typed."""
    seen = set()
    for one in everything():
        name = one.name.replace(".ID", "") + ("" if one.key else ".")
        part, dot, _ = name[len(typed) :].partition(".")
        word = f"{typed}{part}{dot}"
        if part and name.startswith(typed) and word not in seen:
            seen.add(word)
            yield word, text_of(one.table.section) if dot else one.key.description if one.key else ""


def assignable(typed: str, spec: GuestSpec | None) -> Iterable[Offer]:
    """What may go on as ``disk.root.cache=none``; ids are those that the guest has, if its file can be read."""
    key, equals, _ = typed.partition("=")
    if equals:
        return _values(key)
    path = typed.split(".")[:-1]
    above = "".join(f"{part}." for part in path)
    return [(f"{above}{word}", said) for word, said in _below(path, spec)]


def _below(path: list[str], spec: GuestSpec | None) -> Iterator[Offer]:
    """The next part of a key."""
    section: type[Section] = GuestSpec
    here: Any = spec
    rest = path
    while rest:
        table = next((key for key in keys(section) if key.name == rest[0] and key.table is not None), None)
        if table is None or table.array or table.table is None:
            return
        inner: Any = getattr(here, table.field, None)
        if table.many and len(rest) == 1:
            yield from ((f"{name}.", table.description) for name in inner or ())
            return
        section, here = table.table, (inner or {}).get(rest[1]) if table.many else inner
        rest = rest[2:] if table.many else rest[1:]
    for key in keys(section):
        if not key.array:
            yield f"{key.name}{'=' if key.table is None else '.'}", key.description


def _values(name: str) -> Iterator[Offer]:
    """The key with what it takes, where that can be listed; a path is the shell's business."""
    try:
        kinds = [one.key.kind for one in find(name) if one.key is not None]
    except UsageError:
        return
    for kind in kinds:
        if kind is HostPath:
            yield FILES, ""
        elif kind is bool:
            yield from ((f"{name}={value}", "") for value in ("true", "false"))
        elif isinstance(kind, type) and issubclass(kind, Enum):
            yield from ((f"{name}={member.value}", "") for member in kind)

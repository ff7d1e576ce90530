"""From what somebody calls a key to its declaration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.errors import UsageError
from qsup.spec.keys import Key, Table, keys, tables
from qsup.spec.model import DaemonConfig, GuestSpec
from qsup.spec.problem import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Section

FILES: Final[dict[type[Section], str]] = {
    GuestSpec: "guests/*.toml, profiles/*.toml",
    DaemonConfig: "qsup.toml",
}
"""What may be declared, and where."""


class Found(NamedTuple):
    """A key, or a table if ``key`` is None."""

    files: str
    table: Table
    key: Key | None

    @property
    def name(self) -> str:
        """The dotted name, with ``ID`` for an id of the operator's choice."""
        return ".".join((*self.table.path, *((self.key.name,) if self.key else ())))


def everything() -> Iterator[Found]:
    """Every table and every key that any file may have."""
    for section, files in FILES.items():
        for table in tables(section):
            yield Found(files, table, None)
            yield from (Found(files, table, key) for key in table.keys)


def find(name: str) -> list[Found]:
    """What a dotted name stands for: ``disk.root.file``, ``disk.ID.file`` and ``disk.file`` are the same key.

    A single word that is no table also stands for every key of this name. Raises UsageError, with the nearest name.
    """
    parts = tuple(name.strip("[]").removesuffix(".").split("."))
    found = [one for one in everything() if _stands_for(parts, one)]
    if not found and len(parts) == 1:
        found = [one for one in everything() if one.key is not None and one.key.name == parts[0]]
    if not found:
        raise UsageError(f"there is no key {shown(name)}{_nearest(name)}")
    return found


def _stands_for(parts: tuple[str, ...], one: Found) -> bool:
    names = (*one.table.path, *((one.key.name,) if one.key else ()))
    bare = tuple(part for part in names if part != "ID")
    if parts in (names, bare) or not names:
        return bool(names)
    if len(parts) == len(names) and "ID" in names:
        place = names.index("ID")
        # What is the name of a key there is no id: nothing else could be meant by `disk.file`.
        return parts[:place] + parts[place + 1 :] == bare and not _is_key(one, parts[place])
    if one.key is not None and len(parts) == len(names) + 1:
        # A key whose value is a table of values: `cpu.features.vmx`.
        return one.key.default == {} and _stands_for(parts[:-1], one)
    return False


def _is_key(one: Found, word: str) -> bool:
    known = [key.name for key in keys(one.table.section)]
    return word != "ID" and one.key is None and bool(word in known or nearest(word, known))


def _nearest(name: str) -> str:
    known = {one.name.replace(".ID", "") for one in everything() if one.name}
    last = {one.key.name for one in everything() if one.key is not None}
    return nearest(name, known) or nearest(name, last)

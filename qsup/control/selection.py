"""Which guests a command means. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from qsup.errors import GuestNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from qsup.control.commands import Selection


def matches(name: str, globs: Collection[str]) -> bool:
    """Whether any of the globs matches the name."""
    return any(fnmatchcase(name, glob) for glob in globs)


def matching(names: list[str], globs: Collection[str] | None) -> list[str]:
    """The names that any of the globs matches, or all for None, in the order of ``names``.

    Raise GuestNotFound for a glob that matches nothing; only ``*`` may, where there are no guests at all.
    """
    if globs is None:
        return names
    for glob in globs:
        if glob != "*" and not any(fnmatchcase(name, glob) for name in names):
            wanted = "matches" if any(character in glob for character in "*?[") else "is called"
            raise GuestNotFound(f"no guest {wanted} {glob!r}; `qsup list` shows them all")
    return [name for name in names if matches(name, globs)]


def selected(names: list[str], selection: Selection, *, default_all: bool) -> list[str]:
    """The guests that ``name`` or ``names`` mean; raise UsageError if both are given, or neither where it matters."""
    if selection.name is not None and selection.names is not None:
        raise UsageError("Parameters 'name' and 'names' exclude each other")
    if selection.name is not None:
        if selection.name not in names:
            raise GuestNotFound(f"no guest is called {selection.name!r}; `qsup list` shows them all")
        return [selection.name]
    if selection.names is None and not default_all:
        raise UsageError("Parameter 'name' is missing; or give 'names', with [\"*\"] for all guests")
    return matching(names, selection.names)

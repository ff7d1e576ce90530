"""Which guests a command means. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from qsup.control.commands import Selection
from qsup.errors import GuestNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from qsup.control.commands import Command


def matches(name: str, globs: Collection[str]) -> bool:
    """Whether any of the globs matches the name."""
    return any(fnmatchcase(name, glob) for glob in globs)


def matching(names: list[str], globs: Collection[str] | None) -> list[str]:
    """The names that any of the globs matches, or all for None, in the order of ``names``.

    A glob without wildcards is a name: it is in the answer even if no guest is called so, for the daemon knows
    better than this function why there is none. Raise GuestNotFound for any other that matches nothing; only ``*``
    may, where there are no guests at all.
    """
    if globs is None:
        return names
    literal = [glob for glob in globs if not any(character in glob for character in "*?[")]
    for glob in globs:
        if glob not in ("*", *literal) and not any(fnmatchcase(name, glob) for name in names):
            raise GuestNotFound(f"no guest matches {glob!r}; `qsup list` shows them all")
    unknown = [name for name in dict.fromkeys(literal) if name not in names]
    return [name for name in names if matches(name, globs)] + unknown


def about(names: list[str], command: Command) -> list[str] | None:
    """The guests, known or not, that a command is about; None if it is about none in particular."""
    if isinstance(command, Selection):
        return selected(names, command)
    name = getattr(command, "name", None)
    return None if name is None else [name]


def selected(names: list[str], selection: Selection) -> list[str]:
    """The names, known or not, that ``name`` or ``names`` mean.

    Raise UsageError if both are given, or neither where that does not mean all.
    """
    if selection.name is not None and selection.names is not None:
        raise UsageError("Parameters 'name' and 'names' exclude each other")
    if selection.name is not None:
        return [selection.name]
    if selection.names is None and not selection.ALL:
        raise UsageError("Parameter 'name' is missing; or give 'names', with [\"*\"] for all guests")
    return matching(names, selection.names)

"""A guest file in the making, in the file's own words, and what is to be said of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from qsup.argv.extra import check_args
from qsup.errors import UsageError
from qsup.importer.kept import kept
from qsup.spec.base import ID, TEXT, Path
from qsup.spec.model import NAME
from qsup.spec.problem import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME: Final = re.compile(str(NAME.pattern), re.ASCII)
_ID: Final = re.compile(str(ID.pattern), re.ASCII)
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_TEXT: Final = re.compile(str(TEXT.pattern))
_MOST_ARGS: Final = 256
_LONGEST_ARG: Final = 4096
_ID_LENGTH: Final = 20
_NAME_LENGTH: Final = 48


class Severity(StrEnum):
    """What a note means for the guest."""

    LOST = "lost"
    """The guest, or what the host does for it, behaves differently: qsup has no counterpart."""
    PASSED = "passed"
    """It is kept, in `[qemu] args`, where qsup looks no further into it."""
    DIFFERS = "differs"
    """qsup does it in its own way, and the guest gets what it had."""


@dataclass(frozen=True)
class Note:
    """One thing that did not come over as it was."""

    severity: Severity
    what: str
    """The thing, in the words of where it comes from."""
    where: str
    """``line 12`` of the XML, ``word 3`` of the command line."""
    why: str
    """Why, and what to do about it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.why}"


class Draft:
    """Collects the tables of one guest file and the notes to it.

    ``here`` is where the source is being read; whatever is set or noted comes from there.
    """

    def __init__(self, name: str) -> None:
        self.here = ""
        self.table: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.origins: dict[Path, str] = {}
        """Where each key that was set comes from."""
        self._ids: set[str] = set()
        self._boot: list[tuple[int, str]] = []
        self.name = _guest_name(name)
        if self.name != name:
            self.differs(
                f"the name {shown(name)}", f"a guest's name is a file's name too; it is {self.name} now"
            )

    def rename(self, name: str) -> None:
        """Call the guest what an operator says. Raises UsageError for what cannot be a name."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{shown(name)} cannot be a guest's name: {(NAME.extra or {})['form']}")
        self.name = name

    def set(self, *path: str, to: Any) -> None:
        """Set a key; None leaves it unset."""
        if to is None:
            return
        table = self.table
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = to
        self.origins[path] = self.here

    def get(self, *path: str) -> Any:
        """What a key was set to, or None."""
        value: Any = self.table
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def add(self, family: str, wanted: str, entry: dict[str, Any]) -> str:
        """Add a table of a family, `[disk.ID]`, under an id like the wanted one; returns the id. None is left out."""
        name = self._free_id(wanted or family)
        present = {key: value for key, value in entry.items() if value is not None}
        self.table.setdefault(family, {})[name] = present
        self.origins[family, name] = self.here
        return name

    def boot(self, place: int, name: str) -> None:
        """Give a device a place in the boot order; lower ones are tried first."""
        self._boot.append((place, name))

    def order(self) -> list[str]:
        """The ids in boot order, each once."""
        return list(dict.fromkeys(name for _, name in sorted(self._boot, key=lambda entry: entry[0])))

    def append(self, *path: str, value: Any) -> None:
        """Append to an array."""
        self.set(*path, to=[*(self.get(*path) or []), value])

    def lost(self, what: str, why: str) -> None:
        """Note what has no counterpart."""
        self.notes.append(Note(Severity.LOST, what, self.here, why))

    def differs(self, what: str, why: str) -> None:
        """Note what qsup does in its own way."""
        self.notes.append(Note(Severity.DIFFERS, what, self.here, why))

    def pass_on(self, what: str, args: Sequence[str]) -> None:
        """Keep something as arguments for QEMU, or note it as lost where they cannot stand in a guest file."""
        args = kept(args)
        before = self.get("qemu", "args") or []
        troubles = check_args(args)
        if len(before) + len(args) > _MOST_ARGS:
            troubles.append(f"qemu.args holds no more than {_MOST_ARGS} words")
        if any(not _TEXT.fullmatch(word) or len(word) > _LONGEST_ARG for word in args):
            troubles.append("it is longer than a line of qemu.args can be, or has control characters")
        if troubles:
            for trouble in troubles:
                self.lost(what, trouble.removeprefix("qemu.args: "))
            return
        self.set("qemu", "args", to=[*before, *args])
        self.notes.append(Note(Severity.PASSED, what, self.here, f"kept as {' '.join(args)} in qemu.args"))

    def _free_id(self, wanted: str) -> str:
        base = _FOREIGN.sub("-", wanted).strip("-")
        if not base[:1].isalpha():
            base = f"d{base}"
        base = base[:_ID_LENGTH]
        name, number = base, 1
        while name in self._ids or not _ID.fullmatch(name):
            number += 1
            name = f"{base[: _ID_LENGTH - 4]}-{number}"
        self._ids.add(name)
        return name


def _guest_name(name: str) -> str:
    """The nearest name that a guest can have."""
    if _NAME.fullmatch(name):
        return name
    plain = _FOREIGN.sub("-", name).strip("-.")
    if not plain[:1].isalpha():
        plain = f"guest-{plain}" if plain else "guest"
    return plain[:_NAME_LENGTH]

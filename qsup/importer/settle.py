"""From a draft to a file that can be used: what does not fit its declaration is taken out and noted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import tomli

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import LaunchContext
from qsup.errors import SpecError
from qsup.importer.draft import Draft, Note, Severity
from qsup.importer.write import written
from qsup.spec.check import check
from qsup.spec.codec import decode_hook
from qsup.spec.explain import explain
from qsup.spec.model import GuestSpec
from qsup.spec.problem import Problem, shown
from qsup.spec.specifiers import literal

if TYPE_CHECKING:
    from qsup.spec.base import Finding, Path

ROUNDS: Final = 20
"""How often what is wrong is taken out; each round takes out all that is known to be."""
ANY_HOST: Final = HostFacts(binary="qemu-system-x86_64", kvm=True)
ANY_LAUNCH: Final = LaunchContext(token="0" * 16, run_dir="/run/qsup/NAME", state_dir="/var/lib/qsup/NAME")


@dataclass(frozen=True)
class Imported:
    """One guest: its name, its file, what the file means, and what is to be said of it."""

    name: str
    toml: str
    table: dict[str, Any]
    spec: GuestSpec
    notes: tuple[Note, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost."""
        return all(note.severity is not Severity.LOST for note in self.notes)


@dataclass
class _Alone:
    """A guest without files, for the checks; collects what they find."""

    spec: GuestSpec
    found: list[Finding]

    def problem(self, path: Path, message: str) -> Problem:
        self.found.append((path, message))
        return Problem(self.spec.name, None, "", message)


def settle(draft: Draft) -> Imported:
    """The guest file of a draft. Raises SpecError if nothing usable is left of it."""
    order = draft.order()
    if order:
        draft.set("boot", "order", to=order)
    for _ in range(ROUNDS):
        spec, findings = _read(draft.name, draft.table)
        if not findings and spec is not None:
            break
        for path, message in findings or [((), "it cannot be read")]:
            _take_out(draft, path, message)
    else:
        raise SpecError(f"{draft.name}: nothing usable came out")
    try:
        build(spec, ANY_HOST, ANY_LAUNCH)
    except SpecError as error:
        draft.here = "the whole"
        draft.lost("the command line", f"qsup would refuse to start it: {error}")
    notes = tuple(dict.fromkeys(draft.notes))
    # Nothing in a domain is a specifier of ours.
    table = literal(draft.table)
    toml = written(table, notes)
    # What is printed is what was checked: the text says the same as the table.
    if tomli.loads(toml) != table:
        raise SpecError(f"{draft.name}: the file cannot be written so that it reads back")
    return Imported(draft.name, toml, draft.table, spec, notes)


def _read(name: str, table: dict[str, Any]) -> tuple[GuestSpec | None, list[Finding]]:
    """What a table declares, and all that is wrong with it."""
    try:
        spec = msgspec.convert({**table, "name": name}, GuestSpec, strict=True, dec_hook=decode_hook("/"))
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        return None, explain(GuestSpec, table, "/", frozenset({"name"})) or [((), str(error))]
    alone = _Alone(spec, [])
    check({name: alone}, [name])
    return spec, alone.found


def _take_out(draft: Draft, path: Path, message: str) -> None:
    """Remove what a finding is about; if it is not there, what it should stand in."""
    table: Any = draft.table
    for depth, part in enumerate(path):
        try:
            inner = table[part]
        except (KeyError, IndexError, TypeError):
            path = path[:depth]
            break
        table = inner
    if not path:
        raise SpecError(f"{draft.name}: nothing usable came out: {message}")
    holder: Any = draft.table
    for part in path[:-1]:
        holder = holder[part]
    value = holder.pop(path[-1])
    draft.here = _origin(draft, path)
    draft.lost(f"{'.'.join(map(str, path))} = {shown(value)}", message)
    _prune(draft.table, path[:-1])


def _prune(table: dict[str, Any], path: Path) -> None:
    """Remove an array, or a family of devices, that is empty now."""
    if not path:
        return
    holder: Any = table
    for part in path[:-1]:
        holder = holder[part]
    if holder[path[-1]] == [] or (len(path) == 1 and not holder[path[-1]]):
        del holder[path[-1]]


def _origin(draft: Draft, path: Path) -> str:
    while path:
        if path in draft.origins:
            return draft.origins[path]
        path = path[:-1]
    return "the whole"

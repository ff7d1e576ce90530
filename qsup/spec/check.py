"""What types cannot say: within one guest, and between guests. Pure.

What concerns one table by itself stands at its declaration, in ``Section.wrong``.
"""

from __future__ import annotations

from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

import msgspec

from qsup.spec.between import circles, clashes
from qsup.spec.explain import LIMIT
from qsup.spec.keys import keys
from qsup.spec.limits import limits
from qsup.spec.problem import nearest, shown
from qsup.spec.screen import screen
from qsup.spec.sharing import tags, unshared
from qsup.spec.storage import storage
from qsup.spec.together import together
from qsup.spec.topology import numa
from qsup.spec.watching import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from qsup.spec.base import Finding, Path, Section
    from qsup.spec.keys import Key
    from qsup.spec.model import GuestSpec
    from qsup.spec.problem import Problem


class Declared(Protocol):
    """A guest and a way to point at its files."""

    @property
    def spec(self) -> GuestSpec:
        """The guest."""

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at a key of its file."""


def check(declared: Mapping[str, Declared], names: Collection[str]) -> dict[str, list[Problem]]:
    """The problems of each guest that has some. Of two guests that clash, the later in the order of names has it.

    ``names`` are all guests that have a file, be it usable or not: one may wait for a guest whose file is broken.
    """
    problems: dict[str, list[Problem]] = {}

    def tell(name: str, finding: Finding, also: tuple[str, ...] = ()) -> None:
        problem = declared[name].problem(*finding)
        problems.setdefault(name, []).append(msgspec.structs.replace(problem, also=also))

    @cache
    def near(word: str) -> str:
        # A thousand guests that wait for one which is gone all ask for the same word.
        return nearest(word, names)

    for name, guest in declared.items():
        findings = chain(
            wrong(guest.spec),
            _ids(guest.spec),
            _boot_order(guest.spec),
            _after(guest.spec, names, near),
            numa(guest.spec),
            unshared(guest.spec),
            tags(guest.spec),
            together(guest.spec),
            storage(guest.spec),
            watching(guest.spec),
            screen(guest.spec),
            limits(guest.spec),
        )
        for finding in islice(findings, LIMIT):
            tell(name, finding)
    for clash in circles({name: guest.spec.after for name, guest in declared.items()}):
        tell(*clash)
    sound = {name: guest.spec for name, guest in declared.items() if name not in problems}
    for clash in clashes(sound):
        tell(*clash)
    return problems


@cache
def _tables_of(section: type[Section]) -> tuple[Key, ...]:
    """The keys that hold tables."""
    return tuple(key for key in keys(section) if key.table is not None)


def wrong(section: Section) -> Iterator[Finding]:
    """What each table, from this one down, has to say against itself. Tables that no file mentions have nothing."""
    yield from section.wrong()
    for key in _tables_of(type(section)):
        if (value := getattr(section, key.field)) is key.default:
            continue
        if key.many:
            for name, table in value.items():
                yield from (((key.name, name, *path), message) for path, message in wrong(table))
        elif key.array:
            for number, table in enumerate(value):
                yield from (((key.name, number, *path), message) for path, message in wrong(table))
        else:
            yield from (((key.name, *path), message) for path, message in wrong(value))


def _boot_order(spec: GuestSpec) -> Iterator[Finding]:
    bootable = {*spec.disk, *spec.cdrom, *spec.nic}
    for number, name in enumerate(spec.boot.order):
        if name not in bootable:
            near = nearest(name, bootable)
            yield ("boot", "order", number), f'there is no disk, cdrom or nic "{name}"{near}'
        elif name in spec.boot.order[:number]:
            yield ("boot", "order", number), f'"{name}" stands there twice'


def _ids(spec: GuestSpec) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for family in ("disk", "cdrom", "nic", "serial", "parallel", "share"):
        for name in getattr(spec, family):
            if name in owners:
                taken = f'the id "{name}" is taken by [{owners[name]}.{name}]; ids are unique in a guest'
                yield (family, name), taken
            owners.setdefault(name, family)


def _after(spec: GuestSpec, names: Collection[str], near: Callable[[str], str]) -> Iterator[Finding]:
    for number, other in enumerate(spec.after):
        if other == spec.name:
            yield ("after", number), "a guest cannot wait for itself"
        elif other not in names:
            yield ("after", number), f"there is no guest {shown(other)}{near(other)}"

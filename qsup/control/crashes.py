"""Bundles of abnormal ends over the control socket: what is answered about them, for programs and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from qsup.blackbox.shelf import guest_of, no_file
from qsup.clock import iso
from qsup.control.results import Result, Text
from qsup.control.selection import matching
from qsup.control.text import printable, printable_lines, table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qsup.access.rules import Standing
    from qsup.blackbox.shelf import Bundle
    from qsup.control import commands as c
    from qsup.control.caller import Asked
    from qsup.control.facade import Guests

_HEADER: Final = ("ID", "WHEN", "CAUSE", "DETAIL")
_FACTS: Final = ("cause", "detail", "decision", "status", "pid")
_MORE_FACTS: Final = ("evidence", "ran", "qemu", "accel", "machine", "panic")


class Crash(Result, frozen=True):
    """One bundle; all from ``cause`` on is None if it is broken, and ``problem`` says how."""

    id: str
    guest: str
    at: str
    problem: str | None
    cause: str | None
    detail: str | None
    decision: str | None
    status: str | None
    pid: int | None

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The wire form of a bundle."""
        facts = {name: getattr(bundle.facts, name, None) for name in _FACTS}
        return cls(id=bundle.id, guest=bundle.guest, at=iso(bundle.at), problem=bundle.problem, **facts)


class WholeCrash(Crash, frozen=True):
    """The same with everything that is known, and ``files`` with their sizes in ``directory`` on the daemon's host."""

    evidence: tuple[str, ...] | None
    started: str | None
    ran: float | None
    qemu: str | None
    accel: str | None
    machine: str | None
    panic: str | None
    core: str | None
    core_file: str | None
    directory: str
    files: dict[str, int]

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The wire form of a bundle."""
        known = bundle.facts
        core = known.core if known else None
        return cls(
            id=bundle.id,
            guest=bundle.guest,
            at=iso(bundle.at),
            problem=bundle.problem,
            **{name: getattr(known, name, None) for name in (*_FACTS, *_MORE_FACTS)},
            started=iso(known.started) if known and known.started else None,
            core=core.told if core else None,
            core_file=core.path if core else None,
            directory=bundle.directory,
            files=bundle.files,
        )


class Piece(Result, frozen=True):
    """A piece of a file, as base64 on the wire; ``offset`` is where it begins."""

    offset: int
    data: bytes


class Crashes:
    """Answers the commands about bundles."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests

    async def query_crashes(self, query: c.QueryCrashes, asked: Asked) -> list[Crash] | Text:
        """The bundles of some guests."""
        found, more = await self._guests.crashes.listing(await self._meant(query, asked.standing))
        return listed(found, more) if query.format == "text" else [Crash.of(bundle) for bundle in found]

    async def _meant(self, query: c.QueryCrashes, standing: Standing) -> Collection[str]:
        having = await self._guests.crashes.guests()
        names = matching(sorted(filter(standing.sees, {*having, *self._guests.names()})), query.names)
        for name in names:
            standing.check_sees(name)
            if name not in having:
                # A name that no guest has either is a mistake, and the daemon knows best why.
                self._guests.view(name)
        return frozenset(names)

    async def query_crash(self, query: c.QueryCrash, asked: Asked) -> WholeCrash | Text:
        """One bundle."""
        found = await self._guests.crashes.find(query.id, asked.standing.sees)
        if query.format == "text":
            return Text(exit=0, text=printable_lines(await self._guests.crashes.summary(found.id)))
        return WholeCrash.of(found)

    async def crash_read(self, command: c.CrashRead, asked: Asked) -> Piece:
        """A piece of a file."""
        if not asked.standing.sees(guest_of(command.id)):
            raise no_file(command.id, command.file)
        data = await self._guests.crashes.piece(command.id, command.file, command.offset)
        return Piece(offset=command.offset, data=data)


def listed(bundles: Sequence[Bundle], more: int) -> Text:
    """``qsup crashes``: a line a bundle."""
    if not bundles:
        return Text(exit=0, text="no crashes\n")
    cells = table(_HEADER, [_row(bundle) for bundle in bundles])
    return Text(
        exit=0,
        text="".join("  ".join(line).rstrip() + "\n" for line in cells),
        errors=f"{more} older ones are not listed" if more else "",
    )


def _row(bundle: Bundle) -> tuple[str, ...]:
    when = iso(bundle.at)[:19].replace("T", " ")
    if bundle.facts is None:
        return bundle.id, when, "-", printable(bundle.problem or "")
    return bundle.id, when, printable(bundle.facts.cause), printable(bundle.facts.detail)

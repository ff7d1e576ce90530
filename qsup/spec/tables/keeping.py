"""How much of what happened the daemon keeps. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from qsup.spec.base import Finding, Section, about, within
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator


class Crashes(Section, frozen=True, kw_only=True):
    """The bundles that abnormal ends leave behind, which `qsup crashes` lists. The oldest go first."""

    per_guest: Annotated[int, Meta(ge=0, le=1000), about("How many are kept of one guest; 0 makes none.")] = (
        20
    )
    size: Annotated[Size, about("How much room all of them may take.")] = Size.parse("1 GiB")

    def wrong(self) -> Iterator[Finding]:
        """Room for no bundle at all."""
        yield from within("size", self.size, "1 MiB", "1024 TiB")


class History(Section, frozen=True, kw_only=True):
    """The record of everything that happened, which `qsup history` shows."""

    keep: Annotated[Duration, about("For how long it is kept.")] = Duration.parse("400 d")
    events: Annotated[
        int, Meta(ge=1000, le=100_000_000), about("How many events are kept at most; the oldest go first.")
    ] = 1_000_000

    def wrong(self) -> Iterator[Finding]:
        """A time for which nothing useful could be said."""
        yield from within("keep", self.keep, "1 h", "36500 d")

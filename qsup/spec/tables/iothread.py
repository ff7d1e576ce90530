"""Threads of QEMU that do nothing but I/O. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from qsup.spec.base import Finding, Section, about
from qsup.spec.numbers import Numbers, trouble

if TYPE_CHECKING:
    from collections.abc import Iterator


class IoThread(Section, frozen=True, kw_only=True):
    """A thread for the I/O of the disks that name it, beside QEMU's main loop: `[iothread.ID]`."""

    pin: Annotated[
        Numbers | None, about('The host CPUs that it runs on: `"2-3"`, `"0,4-7"`. On any without it.')
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """A set of CPUs that is none."""
        if self.pin is not None and (why := trouble(self.pin)):
            yield ("pin",), why

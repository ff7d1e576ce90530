"""What came of asking a guest how it is."""

from __future__ import annotations

import msgspec


class Passed(msgspec.Struct, frozen=True):
    """The guest is well as far as this check sees."""

    detail: str


class Failed(msgspec.Struct, frozen=True):
    """The guest was asked, and what it did is not what a guest does that is well."""

    detail: str


class Unable(msgspec.Struct, frozen=True):
    """The guest could not be asked: this says nothing of it, neither good nor bad."""

    why: str


Verdict = Passed | Failed | Unable


def told(verdict: Verdict) -> str:
    """The verdict as a sentence for people."""
    match verdict:
        case Passed(detail):
            return f"passed: {detail}"
        case Failed(detail):
            return f"failed: {detail}"
        case Unable(why):
            return f"could not be made: {why}"

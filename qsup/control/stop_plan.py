"""How a time would be shared by all that are stopped: the answer to ``query-stop-plan``, and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from qsup.control.results import Result, Text
from qsup.control.text import table

if TYPE_CHECKING:
    from qsup.budget import Plan


class Shared(Result, frozen=True):
    """What a guest has of a time that all have, in seconds: ``latest`` counts from the beginning of the stop."""

    name: str
    need: float
    share: float
    latest: float


class StopPlan(Result, frozen=True):
    """How a time is shared, and how much there would have to be for none to be cut short; all in seconds."""

    budget: float
    needed: float
    enough: bool
    guests: tuple[Shared, ...]

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The wire form of a plan, in the order in which guests are gone at the latest."""
        rows = sorted(plan.shares.items(), key=lambda item: (item[1].latest, item[0]))
        shared = (
            Shared(
                name=name,
                need=round(one.need, 3),
                share=round(one.share, 3),
                latest=round(one.latest, 3),
            )
            for name, one in rows
        )
        return cls(
            budget=plan.budget, needed=round(plan.needed, 3), enough=not plan.short, guests=tuple(shared)
        )


def shown(plan: StopPlan) -> Text:
    """``qsup stop --plan``: a line a guest, and whether the time is enough."""
    rows = [
        (one.name, f"{one.need:g} s", f"{one.share:.1f} s", f"after {one.latest:.1f} s")
        for one in plan.guests
    ]
    cells = table(("NAME", "NEEDS", "HAS FOR SURE", "GONE"), rows) if rows else []
    text = "".join("  ".join(line).rstrip() + "\n" for line in cells)
    if plan.enough:
        return Text(
            exit=0, text=f"{text}{plan.budget:g} s are enough: {plan.needed:.1f} s are needed at most\n"
        )
    short = ", ".join(one.name for one in plan.guests if one.share < one.need)
    return Text(
        exit=1,
        text=text,
        errors=f"{plan.budget:g} s are too short: by their files guests may take {plan.needed:.1f} s;"
        f" to be cut short, if they take it: {short}\n",
    )

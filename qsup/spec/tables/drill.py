"""What a fire drill may do to a guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, Identifier, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS: Final = form(r"^[^\x00]*$(?!\n)", "what is typed holds no NUL")
Keys = Annotated[str, KEYS, Meta(min_length=1, max_length=256)]
"""What is typed on a serial port; a shell wants its newline as well."""


class Drill(Section, frozen=True, kw_only=True):
    """Fire drills: `qsup drill` does to this guest what may happen to it some night, and tells whether all went as its file says."""

    allowed: Annotated[bool, about("Whether drills may be held with this guest.")] = False
    serial: Annotated[
        Identifier | None,
        about("The serial port on which the following are typed; without it the first one."),
    ] = None
    panic: Annotated[
        Keys | None,
        about(
            r"What makes its kernel panic when it is typed; a shell's line ends in `\n`. Without it the guest agent is asked to, through `/proc/sysrq-trigger`."
        ),
    ] = None
    hang: Annotated[
        Keys | None, about("What makes the guest hang when it is typed; without it there is no such drill.")
    ] = None
    triple_fault: Annotated[
        Keys | None,
        about("What causes a triple fault when it is typed; without it there is no such drill."),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """A port on which nothing is typed."""
        if self.serial is not None and not (self.panic or self.hang or self.triple_fault):
            yield ("serial",), "is for `panic`, `hang` and `triple-fault`, and none of them is set"

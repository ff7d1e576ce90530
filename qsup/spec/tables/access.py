"""Who may command the daemon. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from qsup.role import Right, Role
from qsup.spec.base import Account, Finding, Section, Text, about

if TYPE_CHECKING:
    from collections.abc import Iterator


class Access(Section, frozen=True, kw_only=True):
    """What a user, or the members of a group, may do: `[[access]]`, as often as wished; what several of them grant adds up. Root and the daemon's own user may do everything. The group `qsup`, if there is one, administers all guests unless an entry names it."""

    user: Annotated[
        Account | None,
        about("A user, by name or number; `*` is everybody on this host, who may do no more than observe."),
    ] = None
    group: Annotated[Account | None, about("A group, by name or number.")] = None
    role: Annotated[
        Role,
        about(
            "`observe`: look at states, logs, events, history and bundles of crashes; `operate`: start and stop guests as well, and all that goes with it; `administer`: also hold drills, and whoever may do so with all guests has the configuration read again and tries alerts."
        ),
    ] = Role.OBSERVE
    guests: Annotated[
        tuple[Text, ...],
        about(
            "The guests that it is about, by their names or globs. To whom no entry grants anything of a guest, there is no such guest.",
            max_length=256,
        ),
    ] = ("*",)
    rights: Annotated[
        tuple[Right, ...],
        about(
            "What no role includes: `raw-qmp` is `qsup qmp`, by which one can do what QEMU's user can; `console` is typing on serial ports; `agent-exec` is `qsup agent`.",
            max_length=8,
        ),
    ] = ()

    def wrong(self) -> Iterator[Finding]:
        """An entry that grants to nobody, or too much to everybody."""
        if self.user is None and self.group is None:
            yield ("user",), "is missing, and so is `group`: nobody would have what this grants"
        if self.user is not None and self.group is not None:
            yield ("group",), "excludes user; write an [[access]] for each"
        if self.group == "*":
            yield ("group",), '"*" is no group; everybody is user = "*"'
        if self.user == "*" and self.role is not Role.OBSERVE:
            yield ("role",), 'everybody may do no more than "observe"'
        if self.user == "*" and self.rights:
            yield ("rights",), "everybody can have none"
        if not self.guests:
            yield ("guests",), 'names no guest; without the key it is about all of them, ["*"]'

"""A command line of QEMU becomes a draft. Pure: words in, no look at the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.errors import SpecError
from qsup.importer.draft import Draft
from qsup.importer.qemu import board, devices, drives, nets, ports, screen
from qsup.importer.qemu.command import Command
from qsup.importer.qemu.words import Keys, split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsup.importer.qemu.words import CommandLine

WORD_LIMIT: Final = 10_000
USUAL_NAMES: Final = ("qemu-system-x86_64", "qemu-system-i386", "qemu-kvm", "kvm", "qemu")
FOREIGN: Final = "qemu-system-"
STARTERS: Final = frozenset({"LC_ALL", "PATH", "HOME", "USER", "LOGNAME", "LANG"})
XDG: Final = "XDG_"


def _unknown(_path: str) -> None:
    """Nobody looks at images here."""


def draft_of(
    argv: Sequence[str], name: str | None = None, image_format: Callable[[str], str | None] = _unknown
) -> Draft:
    """The draft of a command line, with or without the binary in front.

    ``image_format`` tells the format of an image for which the command line names none, or None. Raises SpecError
    for what is no command line of a PC.
    """
    if len(argv) > WORD_LIMIT:
        raise SpecError(f"more than {WORD_LIMIT} words: that is no command line")
    line = split(argv)
    if not line.options:
        raise SpecError("there are no options of QEMU in it; give its command line after --")
    draft = Draft(name or _name(line) or "guest")
    _binary(draft, line)
    command = Command(draft, line.options, image_format)
    board.convert(command)
    drives.convert(command)
    nets.convert(command)
    ports.convert(command)
    screen.convert(command)
    devices.convert(command)
    _boot_letters(command)
    devices.leftovers(command)
    if command.moved:
        draft.here = "the whole"
        draft.differs(
            "places of devices on the PCI bus",
            "qsup gives each device a fixed place of its own; a guest that names NICs by their place "
            "(enp1s0) has to be told once",
        )
    return draft


def _name(line: CommandLine) -> str | None:
    for option in line.options:
        if option.name == "name":
            return Keys.of(option).peek("guest")
    return None


def _binary(draft: Draft, line: CommandLine) -> None:
    draft.here = "word 1"
    binary = line.binary
    if binary is not None:
        base = binary.rpartition("/")[2]
        if base.startswith(FOREIGN) and base not in USUAL_NAMES:
            raise SpecError(f"qsup runs PCs; {base} runs other machines")
        if base not in USUAL_NAMES or (binary.startswith("/") and not binary.startswith("/usr/")):
            draft.set("qemu", "binary", to=binary)
    for word in line.environment:
        variable = word.partition("=")[0]
        if variable not in STARTERS and not variable.startswith(XDG):
            draft.differs(f"the environment's {variable}", "qsup starts QEMU with an environment of its own")


def _boot_letters(command: Command) -> None:
    """``-boot cdn``: the first of each kind, unless devices have places of their own."""
    draft = command.draft
    if draft.order():
        return
    first = {
        "c": next(iter(draft.get("disk") or {}), None),
        "d": next(iter(draft.get("cdrom") or {}), None),
        "n": next(iter(draft.get("nic") or {}), None),
    }
    for place, letter in enumerate(command.ids.get("boot letters", "")):
        if (name := first.get(letter)) is not None:
            draft.boot(place, name)

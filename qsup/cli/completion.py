"""Completion of command lines: the scripts that shells read, and what the command says when one of them asks.

Each script only asks: ``qsup __complete qsup WORD…`` prints what the last word may become, a line each, then a tab and
what is said of it. A line that begins with a colon stands for what the shell completes by itself. So all three shells
know the same, and know it from what argparse is told and from the daemon, never from a copy.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup.cli.arguments import command_line
from qsup.cli.grammar import situation
from qsup.cli.offers import Offers
from qsup.cli.output import show
from qsup.control.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsup.cli.arguments import Options

SCRIPTS: Final = {"bash": "qsup.bash", "zsh": "_qsup", "fish": "qsup.fish"}
"""The script of each shell, named as the shell wants it."""
WIDTH: Final = 70


def print_script(options: Options) -> int:
    """Print the script of a shell."""
    show(script(options.kind).read_text(encoding="utf-8"))
    return 0


def script(shell: str) -> Path:
    """The file that has a shell complete command lines of qsup."""
    return Path(__file__).parent / "shells" / SCRIPTS[shell]


def complete(words: Sequence[str]) -> int:
    """Print what the last word of a command line, the command itself left out, may become."""
    # A quotation that is still open reaches us as it was typed; no word that we know has quotes in it.
    found = offers([word.strip("'\"") for word in words] or [""])
    show("".join(f"{word}\t{said}\n" for word, said in found.items()))
    return 0


def offers(words: Sequence[str]) -> dict[str, str]:
    """What the last of the words may become, with what is said of it."""
    line = situation(command_line(), words)
    known = Offers(line)
    found: dict[str, str] = {}
    for place in line.places:
        for word, said in (*place.words.items(), *(known.of(place.takes) if place.takes else ())):
            if word.startswith((line.typed, ":")) and word.isprintable() and " " not in word:
                shown = textwrap.shorten(printable(said), WIDTH, placeholder=" …")
                found[word if word[0] == ":" else line.prefix + word] = shown
    return found

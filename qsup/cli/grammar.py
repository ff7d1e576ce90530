"""Where a word of a command line stands, and so what it may be: for shells that complete words. Pure.

It reads the words as argparse would, by what argparse was told, and never complains: half a command line is no mistake.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPEATED: Final = ("*", "+")
"""How argparse writes that a positional takes word after word."""


class Place(NamedTuple):
    """What may stand at a place."""

    takes: str
    """The kind of word, as the help calls it: ``GUEST``, ``FILE``. Empty where only ``words`` may stand."""
    words: dict[str, str]
    """Words that may stand there, each with what is said of it."""


class Situation(NamedTuple):
    """The word that is being typed, and what has been said before it."""

    places: tuple[Place, ...]
    """Where it may stand; more than one where argparse itself could not know yet."""
    given: dict[str, list[str]]
    """The values so far, by the name of the option or the positional."""
    prefix: str
    """What of the word is not its own: ``--serial=``."""
    typed: str


def situation(parser: argparse.ArgumentParser, words: Sequence[str]) -> Situation:
    """Where the last of the words stands; it may be empty, and the others are taken as complete."""
    reader = _Reader(parser)
    for word in words[:-1]:
        reader.read(word)
    return reader.at(words[-1])


class _Reader:
    """What has been read of a command line."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._given: dict[str, list[str]] = {}
        self._literal = False
        """After ``--`` nothing is an option."""
        self._option: argparse.Action | None = None
        """The option whose value comes next."""
        self._enter(parser)

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        self._positionals = [action for action in parser._actions if not action.option_strings]
        self._used: list[argparse.Action] = []

    def read(self, word: str) -> None:
        """Take in a word that is complete."""
        if self._option is not None:
            self._give(self._option, word)
            self._option = None
        elif self._literal or not word.startswith("-") or word == "-":
            self._read_positional(word)
        elif word == "--":
            self._literal = True
        else:
            self._read_option(word)

    def at(self, word: str) -> Situation:
        """Where the next word stands, which may be only begun."""
        name, equals, value = word.partition("=")
        if self._option is not None:
            return self._situation([_place(self._option)], word)
        if self._literal or not word.startswith("-"):
            places = [_place(action) for action in self._open()]
            return self._situation(places or [Place("", self._options())], word)
        named = self._parser._option_string_actions.get(name)
        if equals and named is not None:
            return self._situation([_place(named)], value, prefix=f"{name}=")
        return self._situation([Place("", self._options())], word)

    def _situation(self, places: list[Place], typed: str, prefix: str = "") -> Situation:
        return Situation(tuple(places), self._given, prefix, typed)

    def _give(self, action: argparse.Action, word: str) -> None:
        self._given.setdefault(action.dest, []).append(word)

    def _read_option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._parser._option_string_actions.get(name)
        if option is None:
            return  # argparse will say so.
        self._used.append(option)
        if equals:
            self._give(option, value)
        elif option.nargs != 0:
            self._option = option

    def _read_positional(self, word: str) -> None:
        could = list(self._open())
        meant = [action for action in could if action.choices and word in action.choices] or could
        if not meant:
            return
        action = meant[0]
        self._give(action, word)
        if isinstance(action, argparse._SubParsersAction):
            if word in action.choices:
                self._enter(action.choices[word])
            return
        taken = self._positionals.index(action) + (action.nargs not in REPEATED)
        self._positionals = self._positionals[taken:]

    def _open(self) -> Iterator[argparse.Action]:
        """The positionals that the next word may belong to."""
        for action in self._positionals:
            yield action
            if action.nargs != "?" and not (action.nargs in REPEATED and self._has_enough(action)):
                return

    def _has_enough(self, action: argparse.Action) -> bool:
        return action.nargs == "*" or action.dest in self._given

    def _options(self) -> dict[str, str]:
        """The options that may still be given, by their long names."""
        groups = [group._group_actions for group in self._parser._mutually_exclusive_groups]
        gone = {
            action
            for used in self._used
            for action in (used, *(one for group in groups if used in group for one in group))
            if not isinstance(action, argparse._AppendAction)
        }
        options = [action for action in self._parser._actions if action not in gone]
        return {
            name: action.help or ""
            for action in options
            for name in action.option_strings
            if name[:2] == "--"
        }


def _place(action: argparse.Action) -> Place:
    if isinstance(action, argparse._SubParsersAction):
        return Place("", {choice.dest: choice.help or "" for choice in action._choices_actions})
    if action.choices is not None:
        return Place("", {str(choice): "" for choice in action.choices})
    return Place(str(action.metavar), {})

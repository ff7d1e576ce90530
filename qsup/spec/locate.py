"""Which line of a TOML text a key stands on.

tomli gives values without lines. When something is wrong with a value, this scanner goes over the text once more:
it knows just enough of TOML 1.1 (https://toml.io/en/v1.1.0) to follow keys, tables, arrays and strings through a
text that tomli has read without complaint.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import tomli

Path = tuple[str | int, ...]

_SPACE: Final = re.compile(r"[ \t]*")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")


class Pair(NamedTuple):
    """Where a key and its value stand in a text: offsets of the key's begin, the value's begin and the value's end."""

    start: int
    value: int
    end: int


class Header(NamedTuple):
    """Where a header stands, from its first bracket until after its last; ``table`` is None for an array's element."""

    table: Path | None
    start: int
    end: int


class Layout(NamedTuple):
    """Where everything stands in a text."""

    lines: dict[Path, int]
    """The line, from 1, on which every table, key and array element begins."""
    pairs: dict[Path, Pair]
    """All pairs of key and value, those of inline tables too, in the order of the text."""
    headers: list[Header]
    """In the order of the text."""


def locate(text: str) -> dict[Path, int]:
    """Every table, key and array element of a valid TOML text, with the line (from 1) on which it begins."""
    return layout(text).lines


def layout(text: str) -> Layout:
    """Where everything stands in a valid TOML text, whose lines end in a newline alone or with a carriage return."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[Path, int] = {}
        self._implied: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        self._pairs: dict[Path, Pair] = {}
        self._headers: list[Header] = []

    def document(self) -> Layout:
        table: Path = ()
        self._skip(_BLANK)
        while (start := self._at) < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
                table = self._element(table)
                self._headers.append(Header(None, start, self._at))
            elif self._text[self._at] == "[":
                table = self._resolved(self._header(1))
                self._note(table)
                self._headers.append(Header(table, start, self._at))
            else:
                self._pair(table)
            self._skip(_BLANK)
        return Layout(self._implied | self._lines, self._pairs, self._headers)

    def _header(self, brackets: int) -> Path:
        self._at += brackets
        path = self._key()
        self._skip(_SPACE)
        self._at += brackets
        return path

    def _resolved(self, path: Path) -> Path:
        """A header below an array of tables means the array's last element. Tables above it need no header."""
        resolved: Path = ()
        for part in path:
            self._imply(resolved)
            resolved = (*resolved, part)
            if resolved in self._arrays:
                resolved = (*resolved, self._arrays[resolved])
        return resolved

    def _element(self, path: Path) -> Path:
        """A new element of an array of tables."""
        above = self._resolved(path[:-1])
        self._imply(above)
        array = (*above, path[-1])
        self._arrays[array] = self._arrays.get(array, -1) + 1
        self._note(array)
        element = (*array, self._arrays[array])
        self._note(element)
        return element

    def _pair(self, table: Path) -> None:
        start = self._at
        path = (*table, *self._key())
        for length in range(len(table) + 1, len(path) + 1):
            self._note(path[:length], start)
        self._skip(_SPACE)
        self._at += 1
        self._skip(_SPACE)
        value = self._at
        # A table counts before what stands in it.
        self._pairs[path] = Pair(start, value, value)
        self._value(path)
        self._pairs[path] = Pair(start, value, self._at)

    def _key(self) -> Path:
        """A dotted key."""
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            string = _STRING.match(self._text, self._at)
            bare = _BARE.match(self._text, self._at)
            if string:
                parts.append(_unquoted(string[0]))
                self._at = string.end()
            elif bare:
                parts.append(bare[0])
                self._at = bare.end()
            else:
                raise ValueError("no key where one was expected")
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _value(self, path: Path) -> None:
        if self._text.startswith("[", self._at):
            self._items(path)
        elif self._text.startswith("{", self._at):
            self._inline(path)
        else:
            match = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            if match is None:
                raise ValueError("no value where one was expected")
            self._at = match.start() + len(match[0].rstrip())

    def _items(self, path: Path) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_BLANK)
            if self._text.startswith("]", self._at):
                self._at += 1
                return
            self._note((*path, number))
            self._value((*path, number))
            number += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text.startswith("}", self._at):
                self._at += 1
                return
            self._pair(path)
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()

    def _note(self, path: Path, at: int | None = None) -> None:
        """Remember the line of a path, the first time that it is met."""
        self._lines.setdefault(path, self._line_at(self._at if at is None else at))

    def _imply(self, table: Path) -> None:
        """Remember the line of a table that is there because of one in it, for as long as it has no header itself."""
        if table:
            self._implied.setdefault(table, self._line_at(self._at))

    def _line_at(self, position: int) -> int:
        if position > self._counted:
            self._line += self._text.count("\n", self._counted, position)
            self._counted = position
        return self._line - self._text.count("\n", position, self._counted)


def _unquoted(text: str) -> str:
    """What a quoted key means; which escapes there are depends on the version of TOML that tomli reads."""
    name: str = tomli.loads(f"name = {text}")["name"]
    return name

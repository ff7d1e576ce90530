"""Which line of a TOML text a key stands on.

tomli gives values without lines. When something is wrong with a value, this scanner goes over the text once more:
it knows just enough of TOML 1.0 (https://toml.io/en/v1.0.0) to follow keys, tables, arrays and strings through a
text that tomli has read without complaint.
"""

from __future__ import annotations

import re
from typing import Final

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


def locate(text: str) -> dict[Path, int]:
    """Every table, key and array element of a valid TOML text, with the line (from 1) on which it begins."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}

    def document(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
                table = self._element(table)
            elif self._text[self._at] == "[":
                table = self._resolved(self._header(1))
                self._note(table)
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self._lines

    def _header(self, brackets: int) -> Path:
        self._at += brackets
        path = self._key()
        self._skip(_SPACE)
        self._at += brackets
        return path

    def _resolved(self, path: Path) -> Path:
        """A header below an array of tables means the array's last element."""
        resolved: Path = ()
        for part in path:
            resolved = (*resolved, part)
            if resolved in self._arrays:
                resolved = (*resolved, self._arrays[resolved])
        return resolved

    def _element(self, path: Path) -> Path:
        """A new element of an array of tables."""
        array = (*self._resolved(path[:-1]), path[-1])
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
        self._value(path)

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
            self._at = match.end()

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
        position = self._at if at is None else at
        if position > self._counted:
            self._line += self._text.count("\n", self._counted, position)
            self._counted = position
        self._lines.setdefault(path, self._line - self._text.count("\n", position, self._counted))


def _unquoted(text: str) -> str:
    """What a quoted key means; which escapes there are depends on the version of TOML that tomli reads."""
    name: str = tomli.loads(f"name = {text}")["name"]
    return name

"""One TOML file, read: its values, and where each of them stands. Pure."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import tomli

from qsup.spec.base import COMMON
from qsup.spec.locate import locate
from qsup.spec.problem import Problem, clipped, shown

if TYPE_CHECKING:
    from qsup.spec.model import GuestSpec

FILE_LIMIT: Final = 1 << 20
"""Bytes; a guest file of a hundred devices has some ten thousand."""
DEPTH_LIMIT: Final = 16
"""Tables and arrays within each other; the keys of a guest go four deep."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)
_PLACE: Final = re.compile(r" \(at (?:line \d+, column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class Document:
    """One file: its table, and its text for finding lines."""

    label: str
    """The file as problems name it: relative to the configuration directory, printable."""
    text: str
    table: dict[str, Any]

    @cached_property
    def may_hold_specifiers(self) -> bool:
        """Whether a percent sign can be in one of its strings; an escape may stand for one."""
        return "%" in self.text or "\\" in self.text

    @cached_property
    def lines(self) -> dict[tuple[str | int, ...], int]:
        """The line of every path; found once, and only when something is wrong."""
        return locate(self.text)

    def problem(self, path: tuple[str | int, ...], message: str) -> Problem:
        """A problem at a key of this file, with the line of the key or of what it should stand in."""
        nearby = path
        while nearby and nearby not in self.lines:
            nearby = nearby[:-1]
        return Problem(self.label, self.lines.get(nearby), dotted(path), clipped(message))

    def depth(self, path: tuple[str | int, ...]) -> int:
        """How many parts of a path the file says something about."""
        value: Any = self.table
        for known, part in enumerate(path):
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return known
        return len(path)


@dataclass(frozen=True)
class Sources:
    """The files that a guest comes from: what wins over others comes first. ``main`` is told what none of them says."""

    documents: tuple[Document, ...]
    main: Document

    def problem(self, path: tuple[str | int, ...], message: str) -> Problem:
        """A problem at a key, in the file that says it or comes nearest to it."""
        path = self._written(path)
        nearest = max(self.documents, key=lambda document: document.depth(path))
        return (nearest if nearest.depth(path) else self.main).problem(path, message)

    def _written(self, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """The path as it stands in a file: with `*` for the id where a device has it from what all have in common."""
        common = (*path[:1], COMMON, *path[2:])
        own, shared = (max(one.depth(which) for one in self.documents) for which in (path, common))
        return common if own < shared == len(path) else path

    def places(self, path: tuple[str | int, ...]) -> list[tuple[str, int]]:
        """Every file that says something at a path, and the line where it does; what wins comes first."""
        path = self._written(path)
        return [
            (document.label, document.lines[path])
            for document in self.documents
            if document.depth(path) == len(path) and path in document.lines
        ]


@dataclass(frozen=True)
class Declared:
    """A guest as far as it could be read, and where that is said."""

    spec: GuestSpec
    sources: Sources

    def problem(self, path: tuple[str | int, ...], message: str) -> Problem:
        """A problem at a key, in the file that says it or comes nearest to it."""
        return self.sources.problem(path, message)


def parse(label: str, data: bytes) -> Document | Problem:
    """Read the bytes of a file, or say why they cannot be read. It is TOML 1.1 that tomli reads."""
    if len(data) > FILE_LIMIT:
        return Problem(label, None, "", f"larger than {FILE_LIMIT >> 20} MiB: that is no configuration")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode().replace("\r\n", "\n")
        table = tomli.loads(text)
    except UnicodeDecodeError as error:
        return Problem(label, data[: error.start].count(b"\n") + 1, "", "not UTF-8, which TOML is written in")
    except tomli.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        column = f" (column {place[1]})" if place and place[1] else ""
        message = clipped(_PLACE.sub("", str(error)))
        return Problem(label, getattr(error, "lineno", None), "", f"not TOML: {message}{column}")
    except RecursionError:
        return _too_deep(label)
    except ValueError:
        # Python converts no more than 4300 digits, as the time for it grows with their square.
        return Problem(label, None, "", "it holds a number with thousands of digits")
    return Document(label, text, table) if _is_shallow(table) else _too_deep(label)


def dotted(path: tuple[str | int, ...]) -> str:
    """A path as a person writes it: ``disk.root.file``, ``nic.lan.forward[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else shown(part)
            text += f".{key}" if text else key
    return text


def _is_shallow(table: dict[str, Any]) -> bool:
    """Whether the walks that follow, which recurse, are safe with it."""
    level: list[Any] = [table]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False


def _too_deep(label: str) -> Problem:
    return Problem(label, None, "", f"tables and arrays are nested more than {DEPTH_LIMIT} deep")

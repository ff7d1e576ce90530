"""``key=value`` into the text of a guest's file, of which everything else stays as it is, to the byte. Pure.

Comments, order and blank lines are the operator's own. So the text is not written anew from its values: a value is
put in the place of the old one, a key after the last one of its table, and a table after the last one of its family.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import tomli

from qsup.errors import UsageError
from qsup.spec.base import HostPath
from qsup.spec.keys import keys
from qsup.spec.locate import layout
from qsup.spec.model import GuestSpec
from qsup.spec.toml import dotted_key, value
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsup.spec.base import Section
    from qsup.spec.keys import Key
    from qsup.spec.locate import Path

BOM: Final = "\ufeff"
_TEXTS: Final = (str, HostPath, Size, Duration)
_HEAD: Final = re.compile(r"(?:#[^\n]*\n)+(?:[ \t\r]*\n)*|")
"""The comment that a file begins with, and the blank lines after it."""


class Assignment(NamedTuple):
    """A path of keys and the value that it gets; None takes it away."""

    path: tuple[str, ...]
    value: Any


def assignment(word: str) -> Assignment:
    """Read ``disk.root.cache=none``: a dotted key as in TOML, and a value as in TOML or a bare word for a string.

    What a key that takes strings is given is a string, though it looks like a number. Nothing after the ``=`` takes
    the key away. Raises UsageError.
    """
    key, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"{word!r} assigns nothing; write key=value, or key= to take the key away")
    path = _path(key.strip())
    text = text.strip()
    return Assignment(path, _read(path, text) if text else None)


def _path(key: str) -> tuple[str, ...]:
    try:
        inner: Any = tomli.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        inner = {}
    path: list[str] = []
    while isinstance(inner, dict) and len(inner) == 1:
        ((part, inner),) = inner.items()
        path.append(part)
    if inner != 0 or not path:
        raise UsageError(f"{key!r} is no key; write it with dots: disk.root.cache")
    return tuple(path)


def _read(path: tuple[str, ...], text: str) -> Any:
    try:
        table = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    found = table["value"]
    # A text of several lines could hold more than one value.
    if table.keys() != {"value"} or (not isinstance(found, str | list | dict) and _takes_texts(path)):
        return text
    return found


def _takes_texts(path: tuple[str, ...]) -> bool:
    declared = _declared(GuestSpec, path)
    kind = declared.kind if declared else None
    return kind in _TEXTS or (isinstance(kind, type) and issubclass(kind, Enum))


def _declared(section: type[Section], path: tuple[str, ...]) -> Key | None:
    """The declaration of the key at a path, if there is one."""
    for key in keys(section):
        if path and key.name == path[0]:
            rest = path[2:] if key.many else path[1:]
            if key.table is not None:
                return _declared(key.table, rest)
            return None if rest else key
    return None


def assigned(text: str, assignments: Iterable[Assignment]) -> str:
    """The text with the assignments made, one after the other. Raises UsageError if that cannot be done."""
    mark, body = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
    newline = "\r\n" if "\r\n" in body else "\n"
    body = body.replace("\r\n", "\n")
    try:
        table = tomli.loads(body)
        for one in assignments:
            expected = _with(table, one)
            body = _Text(body, table).with_(one)
            table = tomli.loads(body)
            if _without_empty(table) != _without_empty(expected):
                raise ValueError("it says something else now")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the file cannot be changed by a command ({error}); use an editor") from error
    return mark + body.replace("\n", newline)


def _with(table: dict[str, Any], one: Assignment) -> dict[str, Any]:
    """The table with an assignment made. Raises UsageError if there is nothing to take away, or no table to go into."""
    head, *rest = one.path
    if not rest:
        if one.value is None and head not in table:
            raise UsageError(f"{dotted_key(one.path)} is not set in this file")
        others = {key: inner for key, inner in table.items() if key != head or one.value is not None}
        return others if one.value is None else {**others, head: one.value}
    inner = table.get(head, {})
    if not isinstance(inner, dict):
        raise UsageError(f"{head} is no table, so there is no {dotted_key(one.path)}")
    if one.value is None and head not in table:
        raise UsageError(f"{dotted_key(one.path)} is not set in this file")
    return {**table, head: _with(inner, Assignment(tuple(rest), one.value))}


def _without_empty(of: Any) -> Any:
    """Without the tables that hold nothing: whether they are there is a matter of how the rest is written."""
    if not isinstance(of, dict):
        return of
    inner = {key: _without_empty(item) for key, item in of.items()}
    return {key: item for key, item in inner.items() if item != {}}


class _Text:
    """A text, what it says and where."""

    def __init__(self, text: str, table: dict[str, Any]) -> None:
        self._text = text
        self._table = table
        self._lines, self._pairs, self._headers = layout(text)

    def with_(self, one: Assignment) -> str:
        inline = self._inline_above(one.path)
        if inline is not None:
            inner = _with(self._at(inline), Assignment(one.path[len(inline) :], one.value))
            return self._replaced(inline, inner) if inner else self._without(inline)
        if one.value is None:
            return self._without(one.path)
        if one.path in self._pairs:
            return self._replaced(one.path, one.value)
        return self._added(one.path, one.value)

    def _inline_above(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """The outermost inline table in which a path lies."""
        above = (path[:length] for length in range(1, len(path)))
        return next((prefix for prefix in above if prefix in self._pairs), None)

    def _at(self, path: tuple[str, ...]) -> dict[str, Any]:
        inner: Any = self._table
        for part in path:
            inner = inner[part]
        assert isinstance(inner, dict)  # noqa: S101 - what is assigned below it was found to fit
        return inner

    def _replaced(self, path: tuple[str, ...], new: Any) -> str:
        pair = self._pairs[path]
        return f"{self._text[: pair.value]}{value(new)}{self._text[pair.end :]}"

    def _without(self, path: tuple[str, ...]) -> str:
        """Without everything at or below the path: its lines, and with a header all up to its table's last line."""
        gone = [(pair.start, pair.end) for key, pair in self._pairs.items() if key[: len(path)] == path]
        gone += [
            (header.start, header.end)
            for header in self._headers
            if header.table is not None and header.table[: len(path)] == path
        ]
        headers = {header.start for header in self._headers}
        text = self._text
        # From the end on, so that what stands before keeps its place.
        for start, end in reversed(_joined(sorted(gone), headers)):
            begin, after = text.rfind("\n", 0, start) + 1, self._end_of_line(end)
            if start in headers and not text[:begin].strip("\n"):
                begin = 0
            text = text[:begin] + (text[after:] if begin else text[after:].lstrip("\n"))
        return text

    def _added(self, path: tuple[str, ...], new: Any) -> str:
        for length in range(len(path) - 1, 0, -1):
            if any(header.table == path[:length] for header in self._headers):
                if length == len(path) - 1:
                    return self._key_into(path[:length], path[length:], new)
                break
            if path[:length] in self._lines and self._dotted(path[:length]):
                return self._beside_dotted(path, length, new)
        return self._key_into((), path, new) if len(path) == 1 else self._table_for(path, new)

    def _section(self, table: Path) -> tuple[int, int]:
        """From where to where a table's own lines go: from its header's end to the next header."""
        starts = [header.start for header in self._headers]
        if not table:
            return 0, min(starts, default=len(self._text))
        own = next(header for header in self._headers if header.table == table)
        return own.end, min((start for start in starts if start > own.start), default=len(self._text))

    def _last_in(self, start: int, end: int) -> int | None:
        """The end of the last value between two places."""
        return max((pair.end for pair in self._pairs.values() if start <= pair.start < end), default=None)

    def _key_into(self, table: tuple[str, ...], key: tuple[str, ...], new: Any) -> str:
        start, end = self._section(table)
        last = self._last_in(start, end)
        line = f"{dotted_key(key)} = {value(new)}\n"
        if last is not None:
            return self._after_line(last, line)
        if table:
            return self._after_line(start, line)
        head = _HEAD.match(self._text)
        at = head.end() if head else 0
        before, after = self._text[:at], self._text[at:]
        return f"{before}{line}" + (f"\n{after}" if after else "")

    def _dotted(self, table: tuple[str, ...]) -> bool:
        """Whether a table is there by dotted keys, which a header would clash with."""
        return any(
            key[: len(table)] == table and not self._is_below_header(table, pair.start)
            for key, pair in self._pairs.items()
        )

    def _is_below_header(self, table: tuple[str, ...], at: int) -> bool:
        header = self._header_above(at)
        return header[: len(table)] == table

    def _header_above(self, at: int) -> tuple[str, ...]:
        above = [header for header in self._headers if header.start < at]
        table = above[-1].table if above else ()
        return tuple(str(part) for part in table or ())

    def _beside_dotted(self, path: tuple[str, ...], length: int, new: Any) -> str:
        beside = [pair for key, pair in self._pairs.items() if key[:length] == path[:length]]
        last = max(beside, key=lambda pair: pair.end)
        key = path[len(self._header_above(last.start)) :]
        return self._after_line(last.end, f"{dotted_key(key)} = {value(new)}\n")

    def _table_for(self, path: tuple[str, ...], new: Any) -> str:
        """A new table, after the last one of its family or at the end."""
        lines = f"[{dotted_key(path[:-1])}]\n{dotted_key(path[-1:])} = {value(new)}\n"
        family = [header for header in self._headers if header.table and header.table[0] == path[0]]
        if not family:
            body = self._text.rstrip("\n")
            return f"{body}\n\n{lines}" if body else lines
        start, end = (
            family[-1].end,
            min(
                (header.start for header in self._headers if header.start > family[-1].start),
                default=len(self._text),
            ),
        )
        at = self._end_of_line(self._last_in(start, end) or start)
        after = self._text[at:]
        newline = "" if self._text[:at].endswith("\n") else "\n"
        gap = "\n" if after and not after.startswith("\n") else ""
        return f"{self._text[:at]}{newline}\n{lines}{gap}{after}"

    def _after_line(self, at: int, line: str) -> str:
        """The text with a line after the one that holds a place, indented as that one is if it is a key's."""
        end = self._end_of_line(at)
        begin = self._text.rfind("\n", 0, at) + 1
        indent = re.match(r"[ \t]*", self._text[begin:])
        before = self._text[:end] if self._text[:end].endswith("\n") else f"{self._text[:end]}\n"
        return f"{before}{indent[0] if indent else ''}{line}{self._text[end:]}"

    def _end_of_line(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1


def _joined(gone: list[tuple[int, int]], headers: set[int]) -> list[tuple[int, int]]:
    """Spans as they are, but each header joined with the pairs up to the next header: a table goes as a whole."""
    joined: list[tuple[int, int]] = []
    for start, end in gone:
        if joined and joined[-1][0] in headers and start not in headers:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif not joined or start >= joined[-1][1]:
            joined.append((start, end))
    return joined

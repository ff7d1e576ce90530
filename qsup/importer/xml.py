"""XML from outside: elements that know their lines, and what of them has been read.

Whoever converts a document reads what it knows; what nobody has read is told at the end. So nothing is lost
silently, however much there is that the converter has never heard of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.parsers import expat

from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_LIMIT: Final = 4 << 20
"""Bytes; a domain of a hundred devices has some hundred thousand."""
DEPTH_LIMIT: Final = 64
COUNT_LIMIT: Final = 50_000
"""Elements."""
_QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_SECRET: Final = re.compile("passw|secret|key", re.IGNORECASE)


@dataclass(frozen=True)
class Unread:
    """Something that nobody has read: where it stands in the tree, how it is written, and its line."""

    path: str
    """``devices/disk/driver@queues``."""
    text: str
    line: int


class Element:
    """An element; reading an attribute, a child or the text marks it as read."""

    def __init__(self, name: str, attributes: dict[str, str], line: int) -> None:
        self.name = name
        self.line = line
        self._attributes = attributes
        self._children: list[Element] = []
        self._text = ""
        self._read: set[str] = set()
        self._seen = False
        self._settled = False

    def get(self, attribute: str) -> str | None:
        """An attribute's value."""
        self._read.add(attribute)
        return self._attributes.get(attribute)

    def has(self, attribute: str, *values: str) -> bool:
        """Whether the attribute is one of the values."""
        return self.get(attribute) in values

    def peek(self, attribute: str) -> str | None:
        """An attribute's value, which somebody else has to read still."""
        return self._attributes.get(attribute)

    def child(self, *path: str) -> Element | None:
        """The first element at a path below."""
        found: Element | None = self
        for name in path:
            found = next(iter(found.children(name)), None) if found is not None else None
            if found is None:
                return None
        return found

    def children(self, *names: str) -> list[Element]:
        """The elements of these names, in their order; all if none is named."""
        found = [child for child in self._children if not names or child.name in names]
        for child in found:
            child._seen = True
        return found

    def below(self) -> Iterator[Element]:
        """Walk over the element and all below, for looking only."""
        yield self
        for child in self._children:
            yield from child.below()

    @property
    def text(self) -> str:
        """The text, without white space around it."""
        self._read.add("")
        return self._text.strip()

    def text_of(self, *path: str) -> str | None:
        """The text of an element below, None if there is no such element or it is empty."""
        found = self.child(*path)
        return (found.text or None) if found is not None else None

    def settle(self) -> None:
        """There is nothing more to tell of this element and all below it."""
        self._settled = True

    def shown(self) -> str:
        """The element's start as it is written, without secrets."""
        words = [self.name, *(_attribute(key, value) for key, value in self._attributes.items())]
        return f"<{' '.join(words)}>"

    def unread(self, above: str = "") -> Iterator[Unread]:
        """What nobody has read, from this element down."""
        if self._settled:
            return
        path = f"{above}{self.name}"
        if not self._seen:
            yield Unread(path, self.shown(), self.line)
            return
        for key, value in self._attributes.items():
            if key not in self._read:
                yield Unread(f"{path}@{key}", f"<{self.name} {_attribute(key, value)}>", self.line)
        if self._text.strip() and "" not in self._read:
            yield Unread(path, f"the text of <{self.name}>", self.line)
        for child in self._children:
            yield from child.unread(f"{path}/")


def _attribute(key: str, value: str) -> str:
    hidden = _SECRET.search(key)
    return f"{key}='{'…' if hidden else value[:60]}'"


class _Builder:
    """Makes elements out of what expat finds."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= DEPTH_LIMIT or self._count > COUNT_LIMIT:
            raise SpecError("it has more elements, or deeper ones, than any domain")
        element = Element(_local(name), attributes, self.parser.CurrentLineNumber)
        if self._open:
            self._open[-1]._children.append(element)
        else:
            element._seen = True
            self.root = element
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _data(self, data: str) -> None:
        if self._open:
            self._open[-1]._text += data

    def _doctype(self, *_: Any) -> None:
        raise SpecError("it has a DOCTYPE, which could define entities; a domain needs none")


def parse(data: bytes) -> Element:
    """The root of a document. Raises SpecError, saying why, for what cannot be read."""
    if len(data) > SIZE_LIMIT:
        raise SpecError(f"larger than {SIZE_LIMIT >> 20} MiB: that is no domain")
    builder = _Builder()
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise SpecError(f"line {error.lineno}: not XML: {expat.ErrorString(error.code)}") from error
    except (ValueError, LookupError) as error:
        raise SpecError(f"not XML that can be read: {error}") from error
    if builder.root is None:
        raise SpecError("it is empty")
    return builder.root


def _local(name: str) -> str:
    """``name``, ``qemu:name`` for libvirt's own additions for QEMU, ``URI name`` for what is foreign."""
    space, _, local = name.rpartition(" ")
    if not space:
        return name
    return f"qemu:{local}" if space == _QEMU_NAMESPACE else name

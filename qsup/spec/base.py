"""What all declarations of settings stand on: the strict table, what is told of a key, and the kinds of text."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsup.units import Duration, Size

Path = tuple[str | int, ...]
"""Keys and indices from a table down to a value: ``("disk", "root", "file")``."""
Finding = tuple[Path, str]
"""Where something is wrong, and a sentence about it."""


def about(text: str, *, qemu: str | None = None, since: str | None = None, **limits: Any) -> Meta:
    """What is told of a key: a sentence or two in ``text``, its counterpart in QEMU's words, and its limits.

    ``qemu`` is None for what qsup itself does. ``since`` is the first QEMU that has the counterpart, where that is
    newer than the oldest one supported (7.2).
    """
    told = {key: value for key, value in (("qemu", qemu), ("since", since)) if value is not None}
    return Meta(description=text, extra=told or None, **limits)


def form(pattern: str, words: str) -> Meta:
    """The form of a text: a regular expression, and the same in words, for whoever has written something else."""
    return Meta(pattern=pattern, extra={"form": words})


ID: Final = form(
    r"^[A-Za-z][A-Za-z0-9_.-]{0,19}$(?!\n)",
    "an id is a letter, then up to 19 letters, digits, or any of _ . -",
)
"""Ids of devices: QEMU's own rule for ids, short enough for a node-name (31 bytes) with a prefix."""
COMMON: Final = "*"
"""Stands in the place of an id for what all devices of a family have in common; no id itself."""
TEXT: Final = form(r"^[^\x00-\x1f\x7f]*$(?!\n)", "text is one line, without control characters")
"""Text for people and command lines."""
Text = Annotated[str, TEXT, Meta(max_length=4096)]
Identifier = Annotated[str, ID]
SECRET: Final = Meta(
    pattern=r"^[^\x00]*$(?!\n)",
    max_length=16384,
    extra={"form": "a secret holds no NUL", "secret": True},
)
SecretText = Annotated[str, SECRET]
"""Text that no message, list of changes, log or command line may show; it may have several lines."""


def within(key: str, value: Size | Duration, least: str, most: str) -> Iterator[Finding]:
    """A finding if a quantity is out of its range, whose ends are written as in a file."""
    lowest, highest = _range(type(value).parse, least, most)
    if not lowest <= value <= highest:
        yield (key,), f"{value} is out of range; allowed: {least} to {most}"


@cache
def _range(parse: Callable[[str], float], least: str, most: str) -> tuple[float, float]:
    return parse(least), parse(most)


class HostPath(str):
    """An absolute path on the host. In a file it may be relative: it starts at the configuration directory then."""

    __slots__ = ()


class Account(str):
    """A user or a group, by its name or its number; in a file a number may stand without quotation marks."""

    __slots__ = ()


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The base of all tables of a guest file: immutable, strict about keys."""

    not_in_files = frozenset[str]()
    """Fields that are no keys."""

    def wrong(self) -> Iterator[Finding]:
        """What the types of its keys cannot say about one table by itself; paths start at the table. Pure."""
        return iter(())

"""What all declarations of settings stand on: the strict table, and the kinds of text."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

ID_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,19}$(?!\n)"
"""Ids of devices: QEMU's own rule for ids, short enough for a node-name (31 bytes) with a prefix."""
TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$(?!\n)"
"""Text for people and command lines: one line, no control characters."""
Text = Annotated[str, Meta(pattern=TEXT_PATTERN, max_length=4096)]
Identifier = Annotated[str, Meta(pattern=ID_PATTERN)]


class HostPath(str):
    """An absolute path on the host. In a file it may be relative: it starts at the configuration directory then."""

    __slots__ = ()


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The base of all tables of a guest file: immutable, strict about keys."""

"""What a qcow2 image's header says of other files: its backing file. Read as QEMU's ``docs/interop/qcow2.txt`` has it.

A header is a guest's to write where its image once was a raw one, so it is read with bounds and only ever looked at.
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

MAGIC: Final = b"QFI\xfb"
HEAD: Final = 1 << 16
"""Bytes that are read: the header, its extensions and the backing file's name are within the first cluster, and
`qemu-img` makes none larger than 2 MiB, mostly of 64 KiB; what lies beyond is not looked at."""
NAME_LIMIT: Final = 1023
"""Bytes of a backing file's name."""
_BACKING_FORMAT: Final = 0xE2792ACA
_V2: Final = struct.Struct(">4sIQI4xQ")
_FEATURES: Final = struct.Struct(">72xQ")
_CORRUPT: Final = 1 << 1


class Header(NamedTuple):
    """What concerns others than QEMU itself."""

    size: int
    """Of the disk that the guest sees, bytes."""
    backing: str | None
    """The backing file as it is written there: relative to the image's directory, or ``PROTOCOL:…``."""
    backing_format: str | None
    corrupt: bool
    """QEMU has found it damaged, and opens it only to be read."""


def is_qcow2(head: bytes) -> bool:
    """Whether a file that begins like this is a qcow2 image."""
    return head.startswith(MAGIC)


def read_header(head: bytes) -> Header:
    """The header out of the first bytes of an image; raise ValueError if it cannot be one."""
    try:
        _, version, offset, length, size = _V2.unpack_from(head)
        features = _FEATURES.unpack_from(head)[0] if version >= 3 else 0
        header_length = struct.unpack_from(">100xI", head)[0] if version >= 3 else 72
    except struct.error:
        raise ValueError("its header is cut short") from None
    if version not in {2, 3}:
        raise ValueError(f"its version is {version}, and QEMU knows 2 and 3")
    backing = None
    if offset:
        name = head[offset : offset + length]
        if length > NAME_LIMIT or len(name) < length or b"\0" in name:
            raise ValueError("the name of its backing file is no name")
        backing = os.fsdecode(name)
    end = offset or len(head)
    return Header(size, backing, _format(head[:end], header_length), bool(features & _CORRUPT))


def _format(head: bytes, at: int) -> str | None:
    """The backing file's format, from the extension that tells it."""
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0:
            return None
        if kind == _BACKING_FORMAT:
            return head[at + 8 : at + 8 + min(length, 32)].decode("ascii", "replace")
        at += 8 + (length + 7) // 8 * 8
    return None

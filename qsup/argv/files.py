"""Files that a launch makes before QEMU starts, where they are not there yet; ``qsup.guest.prepare`` makes them."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from qsup.spec.tables.cloud_init import CloudInit


class CreateImage(msgspec.Struct, frozen=True, tag=True):
    """An image that ``qemu-img create`` makes: ``size`` bytes, or as large as its ``base``."""

    path: str
    format: str
    size: int | None = None
    base: str | None = None
    base_format: str | None = None
    source: tuple[str, ...] = ()
    """The table that asks for it, ``("disk", "root")``."""


class CopyFile(msgspec.Struct, frozen=True, tag=True):
    """A copy of a file that comes with QEMU or the firmware: NVRAM from its template."""

    template: str
    path: str
    source: tuple[str, ...] = ()


class CopySecret(msgspec.Struct, frozen=True, tag=True):
    """A copy of a file that holds a password, without the line's end that editors leave there."""

    original: str
    path: str
    most: int
    """Bytes that the password may have."""
    source: tuple[str, ...] = ()


class WriteFile(msgspec.Struct, frozen=True, tag=True):
    """A file that holds a text of the guest's file, for QEMU alone to read."""

    path: str
    text: str
    source: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"WriteFile(path={self.path!r}, text=…, source={self.source!r})"


class SeedImage(msgspec.Struct, frozen=True, tag=True):
    """The seed of cloud-init; what is secret in it is read only as it is made."""

    path: str
    guest: str
    cloud_init: CloudInit
    source: tuple[str, ...] = ("cloud-init",)


File: TypeAlias = CreateImage | CopyFile | CopySecret | WriteFile | SeedImage
"""None of them is ever made over a file that exists."""

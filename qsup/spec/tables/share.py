"""Directories of the host that the guest can mount. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, HostPath, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

TAG: Final = form(r"^[A-Za-z0-9_./-]{1,31}$(?!\n)", "a tag is up to 31 letters, digits, or any of _ . / -")
"""virtiofs has room for 36 bytes, 9p for 31."""


class ShareType(StrEnum):
    """How a directory is shared."""

    VIRTIOFS = "virtiofs"
    NINEP = "9p"


class ShareCache(StrEnum):
    """How much of a virtiofs share the guest may keep in mind without asking the host again."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class ShareSecurity(StrEnum):
    """Where 9p keeps owners and modes that the guest gives to files (QEMU's ``security_model``)."""

    MAPPED_XATTR = "mapped-xattr"
    MAPPED_FILE = "mapped-file"
    PASSTHROUGH = "passthrough"
    NONE = "none"


class Share(Section, frozen=True, kw_only=True):
    """A directory of the host that the guest can mount: `[share.ID]`."""

    path: Annotated[HostPath, about("The directory.", qemu="virtiofsd --shared-dir; -fsdev local,path=")]
    type: Annotated[
        ShareType,
        about(
            "`virtiofs`: fast, by the helper process virtiofsd; `9p`: by QEMU itself, for guests that lack virtiofs.",
            qemu="-device vhost-user-fs-pci / virtio-9p-pci",
        ),
    ] = ShareType.VIRTIOFS
    tag: Annotated[
        Annotated[str, TAG] | None,
        about(
            "The name by which the guest mounts it: `mount -t virtiofs TAG /mnt`. Without it the share's id.",
            qemu="-device vhost-user-fs-pci,tag= / virtio-9p-pci,mount_tag=",
        ),
    ] = None
    read_only: Annotated[
        bool,
        about("Whether the guest can only read.", qemu="virtiofsd --readonly; -fsdev local,readonly="),
    ] = False
    cache: Annotated[
        ShareCache | None,
        about(
            "For `virtiofs`: `auto` asks the host again after a second, which is the default; `always`: the guest is the only one who writes there; `never`.",
            qemu="virtiofsd --cache",
        ),
    ] = None
    security: Annotated[
        ShareSecurity | None,
        about(
            "For `9p`: owners and modes are kept in extended attributes (`mapped-xattr`, the default) or hidden files (`mapped-file`); `passthrough` needs a QEMU that runs as root.",
            qemu="-fsdev local,security_model=",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Keys that belong to the other type."""
        for key, kind in (("cache", ShareType.VIRTIOFS), ("security", ShareType.NINEP)):
            if getattr(self, key) is not None and self.type is not kind:
                yield (key,), f'belongs to type = "{kind}", and the type is "{self.type}"'

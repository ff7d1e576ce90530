"""Images and block devices as QEMU's block layer sees them: a node for the file, on it a node for the format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.quote import as_json
from qsup.spec.devices import Cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.argv.invocation import Option
    from qsup.spec.devices import Aio, Discard, DiskFormat


def image(
    node: str,
    file: str,
    format: DiskFormat,  # noqa: A002 - the key's own name, as in a guest file and in QEMU
    *,
    read_only: bool,
    cache: Cache,
    aio: Aio,
    discard: Discard,
) -> Iterator[Option]:
    """The nodes ``file-NODE`` and ``NODE`` of an image.

    Locking is left at `auto`: two guests on one image are refused. `auto-read-only` is off without being named:
    an image that cannot be opened as declared is an error, not a disk that fails at the first write.
    """
    common: dict[str, object] = {"read-only": read_only, "cache": _cache_flags(cache), "discard": discard}
    file_node = f"file-{node}"
    yield _node(_protocol(file), file_node, {"filename": file, "aio": aio, **common})
    yield _node(format, node, {"file": file_node, **common})


def write_cache(cache: Cache) -> str:
    """Whether the guest sees a volatile write cache, which it has to flush: the table of ``-drive cache=``."""
    return "off" if cache in {Cache.WRITETHROUGH, Cache.DIRECTSYNC} else "on"


def _cache_flags(cache: Cache) -> dict[str, bool]:
    return {"direct": cache in {Cache.NONE, Cache.DIRECTSYNC}, "no-flush": cache is Cache.UNSAFE}


def _protocol(file: str) -> str:
    """The driver for a path.

    It is told by the name alone, as the command line is made without looking at the disk: what lies in /dev is a
    device, except what lies in its file systems. Should a link elsewhere lead to a device, QEMU says that it is none
    of its regular files, and the guest does not start.
    """
    return "host_device" if file.startswith("/dev/") and not file.startswith("/dev/shm/") else "file"  # noqa: S108


def _node(driver: str, name: str, members: Mapping[str, object]) -> Option:
    return as_json("-blockdev", {"driver": driver, "node-name": name, **members})

"""Images and block devices as QEMU's block layer sees them: a node for the file, on it one for the format.

Where there are limits, one for them stands on top. The format's node has the name of the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsup.argv.quote import as_json
from qsup.errors import SpecError
from qsup.spec.nbd import parse
from qsup.spec.tables.disk import Aio, Cache, DetectZeroes, Discard, DiskFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.argv.invocation import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Where the bytes of a drive are, and how they are to be treated. As it stands it is a CD-ROM's."""

    file: str | None = None
    nbd: str | None = None
    """Instead of a file, the address of an NBD export."""
    format: DiskFormat = DiskFormat.RAW
    read_only: bool = True
    cache: Cache = Cache.WRITEBACK
    aio: Aio = Aio.THREADS
    discard: Discard = Discard.IGNORE
    detect_zeroes: DetectZeroes = DetectZeroes.OFF
    throttle: str | None = None
    """The id of a throttle group."""


def nodes(node: str, image: Image) -> Iterator[Option]:
    """The nodes ``file-NODE`` and ``NODE`` of an image, and ``limit-NODE``; :func:`top` is what a device takes.

    Locking is left at `auto`: two guests on one image are refused. `auto-read-only` is off without being named:
    an image that cannot be opened as declared is an error, not a disk that fails at the first write.
    """
    common: dict[str, object] = {
        "read-only": image.read_only,
        "cache": _cache_flags(image.cache),
        "discard": image.discard,
    }
    file_node = f"file-{node}"
    protocol, members = _protocol(image)
    yield _node(protocol, file_node, {**members, **common})
    detect = None if image.detect_zeroes is DetectZeroes.OFF else image.detect_zeroes
    yield _node(image.format, node, {"file": file_node, **common, "detect-zeroes": detect})
    if image.throttle is not None:
        limits = {"throttle-group": image.throttle, "file": node}
        yield _node("throttle", top(node, image), {**limits, **common})


def top(node: str, image: Image) -> str:
    """The node on which a device sits."""
    return node if image.throttle is None else f"limit-{node}"


def write_cache(cache: Cache) -> str:
    """Whether the guest sees a volatile write cache, which it has to flush: the table of ``-drive cache=``."""
    return "off" if cache in {Cache.WRITETHROUGH, Cache.DIRECTSYNC} else "on"


def _cache_flags(cache: Cache) -> dict[str, bool]:
    return {"direct": cache in {Cache.NONE, Cache.DIRECTSYNC}, "no-flush": cache is Cache.UNSAFE}


def _protocol(image: Image) -> tuple[str, dict[str, object]]:
    """The driver for the bytes and what it needs to know.

    What a path is, is told by its name alone, as the command line is made without looking at the disk: what lies in
    /dev is a device, except what lies in its file systems. Should a link elsewhere lead to a device, QEMU says that
    it is none of its regular files, and the guest does not start.
    """
    if image.nbd is not None:
        return "nbd", _server(image.nbd)
    file = image.file or ""
    device = file.startswith("/dev/") and not file.startswith("/dev/shm/")  # noqa: S108 - files of memory are files
    return ("host_device" if device else "file"), {"filename": file, "aio": image.aio}


def _server(address: str) -> dict[str, object]:
    try:
        export = parse(address)
    except ValueError as error:
        raise SpecError(str(error)) from error
    if export.socket:
        server = {"type": "unix", "path": export.socket}
    else:
        server = {"type": "inet", "host": export.host, "port": str(export.port)}
    return {"server": server, "export": export.name}


def _node(driver: str, name: str, members: Mapping[str, object]) -> Option:
    return as_json("-blockdev", {"driver": driver, "node-name": name, **members})

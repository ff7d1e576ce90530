"""What a Linux guest boots from, made without root: an archive of files, and the kernel modules that go in.

The archive has the "newc" format that the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
describes.
"""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

TRAILER: Final = "TRAILER!!!"


class Archive:
    """A cpio archive in the making; directories appear by themselves, everything belongs to root."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._names: set[str] = set()

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file at the absolute path ``name``, once."""
        self._parents(name)
        self._entry(name, stat.S_IFREG | mode, content)

    def device(self, name: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._parents(name)
        self._entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def finish(self) -> bytes:
        """The whole archive."""
        self._entry("/" + TRAILER, 0, b"")
        return bytes(self._data)

    def _parents(self, name: str) -> None:
        for parent in reversed(Path(name).parents):
            if parent != Path("/") and str(parent) not in self._names:
                self._entry(str(parent), stat.S_IFDIR | 0o755, b"")

    def _entry(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        if name in self._names:
            return
        self._names.add(name)
        path = name.lstrip("/").encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device of the file (2), device that it is (2), length, check
        fields = [len(self._names), mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0]
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)


class Modules:
    """The modules below ``/lib/modules/VERSION``, found by their names and read."""

    def __init__(self, directory: Path) -> None:
        self._files = {_plain(path.name): path for path in directory.rglob("*.ko*")}
        builtin = directory / "modules.builtin"
        lines = builtin.read_text(encoding="utf-8").splitlines() if builtin.exists() else []
        self._builtin = {_plain(Path(line).name) for line in lines}

    def closure(self, names: list[str]) -> tuple[dict[str, bytes], list[str]]:
        """The named modules and all that they depend on, in the order of loading, and those that do not exist.

        What is built into the kernel needs no loading and is neither.
        """
        loaded: dict[str, bytes] = {}
        absent: list[str] = []

        def visit(name: str) -> None:
            if name in loaded or name in self._builtin:
                return
            path = self._files.get(name)
            if path is None:
                absent.append(name)
                return
            content = _decompressed(path)
            for dependency in _depends(content):
                visit(dependency)
            loaded[name] = content

        for name in names:
            visit(_plain(name))
        return loaded, absent


def _plain(name: str) -> str:
    """A module's name without suffixes; the kernel takes dashes for underscores."""
    return name.partition(".ko")[0].replace("-", "_")


def _depends(module: bytes) -> list[str]:
    """The modules that must be loaded before this one: the ``depends`` string of its section ``.modinfo``."""
    match = re.search(rb"\0depends=([A-Za-z0-9_,-]*)\0", module)
    return [_plain(name) for name in match[1].decode().split(",") if name] if match else []


def _decompressed(path: Path) -> bytes:
    content = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(content)
        case ".gz":
            return gzip.decompress(content)
        case ".zst":
            return _zstd(content)
        case _:
            return content


def _zstd(content: bytes) -> bytes:
    if shutil.which("zstd") is None:
        raise FileNotFoundError("the kernel's modules are compressed with zstd, and there is no program zstd")
    return subprocess.run(["zstd", "-dc"], input=content, capture_output=True, check=True).stdout

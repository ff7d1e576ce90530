"""A journal that keeps what it is sent, read as strictly as journald does, on a socket of its own."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import re
import socket
from pathlib import Path
from typing import Final

SEALED: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
NAME: Final = re.compile(rb"[A-Z][A-Z0-9_]{0,63}")
"""Of a field that clients may set: those that begin with an underscore are the journal's own."""

Entry = dict[str, str]


class FakeJournal:
    """Reads only when it is asked to, so that what is sent to it can pile up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = 0
        """Entries that came as files."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))

    def entries(self) -> list[Entry]:
        """What has arrived since the last time."""
        found = []
        while (entry := self._next()) is not None:
            found.append(entry)
        return found

    async def arrived(self) -> list[Entry]:
        """The same; waits for at least one."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._socket, readable.set)
        try:
            async with asyncio.timeout(10):
                await readable.wait()
        finally:
            loop.remove_reader(self._socket)
        return self.entries()

    def close(self) -> None:
        self._socket.close()
        self.path.unlink()

    def _next(self) -> Entry | None:
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return None
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        if not ancillary:
            return decode(data)
        assert data == b""
        (fd,) = array.array("i", ancillary[0][2])
        with open(fd, "rb") as file:
            assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALED
            assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:")
            file.seek(0)
            self.files += 1
            return decode(file.read())


def decode(data: bytes) -> Entry:
    """The fields of one entry."""
    found: Entry = {}
    while data:
        line, end, rest = data.partition(b"\n")
        assert end
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, after = rest[8 : 8 + length], rest[8 + length :]
            assert len(value) == length
            assert after[:1] == b"\n"
            rest = after[1:]
        assert NAME.fullmatch(name), name
        assert name.decode() not in found, name
        found[name.decode()] = value.decode()
        data = rest
    return found

"""A switch for vhost-user NICs that shakes hands and carries no packet (QEMU: docs/interop/vhost-user.rst)."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Final, Self

HEADER: Final = struct.Struct("<III")
"""Request, flags, bytes that follow."""
VERSION: Final = 0x1
REPLY: Final = 0x4
GET_FEATURES: Final = 1
GET_PROTOCOL_FEATURES: Final = 15
GET_QUEUE_NUM: Final = 17
VIRTIO_F_VERSION_1: Final = 1 << 32
PROTOCOL_FEATURES: Final = 1 << 30
MULTIQUEUE: Final = 1 << 0
ANSWERS: Final = {
    GET_FEATURES: VIRTIO_F_VERSION_1 | PROTOCOL_FEATURES,
    GET_PROTOCOL_FEATURES: MULTIQUEUE,
    GET_QUEUE_NUM: 8,
}


class FakeSwitch:
    """Listens on a path, serves one QEMU after the other; a context manager that ends it."""

    def __init__(self, path: Path) -> None:
        self.requests: list[int] = []
        """What QEMU has asked for so far."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would leave the thread in its accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, contextlib.suppress(OSError):
                    self._converse(client)

    def _converse(self, client: socket.socket) -> None:
        while header := self._receive(client, HEADER.size):
            request, _, size = HEADER.unpack(header)
            self._receive(client, size)
            self.requests.append(request)
            if request in ANSWERS:
                client.sendall(HEADER.pack(request, VERSION | REPLY, 8) + struct.pack("<Q", ANSWERS[request]))

    @staticmethod
    def _receive(client: socket.socket, size: int) -> bytes:
        """Exactly so many bytes, or none at the end. The fds that come with them are closed."""
        data = b""
        while len(data) < size:
            chunk, ancillary, _, _ = client.recvmsg(size - len(data), socket.CMSG_SPACE(64 * 4))
            for _, _, packed in ancillary:
                fds = array.array("i")
                fds.frombytes(packed[: len(packed) // fds.itemsize * fds.itemsize])
                for fd in fds:
                    os.close(fd)
            if not chunk:
                return b""
            data += chunk
        return data

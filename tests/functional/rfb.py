"""A VNC viewer of a few lines (RFC 6143, and VeNCrypt for TLS): it logs in and looks at the screen once."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.functional import des

if TYPE_CHECKING:
    import ssl

NONE: Final = 1
VNC: Final = 2
VENCRYPT: Final = 19
X509_NONE: Final = 260
X509_VNC: Final = 261
PATIENCE: Final = 30.0


class Screen(NamedTuple):
    """What a viewer sees: the guest's name, and the pixels, four bytes each."""

    name: str
    width: int
    height: int
    pixels: bytes


class Viewer:
    """One connection; a context manager."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock: socket.socket = socket.socket(family)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        assert self._read(12) == b"RFB 003.008\n"
        self.sock.sendall(b"RFB 003.008\n")
        self.kinds = list(self._read(self._read(1)[0]))

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def log_in(self, password: str | None = None, tls: ssl.SSLContext | None = None) -> str | None:
        """Be let in by the one way that is offered; return why not."""
        kind = VENCRYPT if tls is not None else NONE if password is None else VNC
        self.sock.sendall(bytes([kind]))
        if tls is not None:
            self._vencrypt(X509_NONE if password is None else X509_VNC, tls)
        if password is not None:
            self._answer(password)
        if self._number() == 0:
            return None
        return self._read(self._number()).rstrip(b"\0").decode()

    def look(self) -> Screen:
        """The whole screen."""
        self.sock.sendall(b"\1")
        width, height = struct.unpack(">HH16x", self._read(20))
        name = self._read(self._number()).decode()
        self.sock.sendall(struct.pack(">BxHi", 2, 1, 0))
        self.sock.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        assert self._read(2)[0] == 0
        pixels = b""
        for _ in range(struct.unpack(">H", self._read(2))[0]):
            _, _, wide, high, encoding = struct.unpack(">HHHHi", self._read(12))
            assert encoding == 0
            pixels += self._read(wide * high * 4)
        return Screen(name, width, height, pixels)

    def _vencrypt(self, wanted: int, tls: ssl.SSLContext) -> None:
        assert self._read(2) == b"\0\2"
        self.sock.sendall(b"\0\2")
        assert self._read(1) == b"\0"
        count = self._read(1)[0]
        assert list(struct.unpack(f">{count}I", self._read(4 * count))) == [wanted]
        self.sock.sendall(struct.pack(">I", wanted))
        assert self._read(1) == b"\1"
        self.sock = tls.wrap_socket(self.sock)

    def _answer(self, password: str) -> None:
        """VNC's keys have the bits of each byte the other way round."""
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0")[:8])
        challenge = self._read(16)
        self.sock.sendall(des.encrypt(key, challenge[:8]) + des.encrypt(key, challenge[8:]))

    def _number(self) -> int:
        return int.from_bytes(self._read(4))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data

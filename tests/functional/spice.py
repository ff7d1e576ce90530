"""The beginning of a SPICE viewer (the protocol's "SPICE link"): it connects to the main channel and logs in."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import ssl

PERMISSION_DENIED: Final = 7
PATIENCE: Final = 30.0
MAIN: Final = 1
KEY_BYTES: Final = 162
HASH: Final = 20


class PublicKey(NamedTuple):
    """An RSA key."""

    modulus: int
    exponent: int


def log_in(address: str | tuple[str, int], password: str = "", tls: ssl.SSLContext | None = None) -> int:
    """The result of a login: 0, or an error of the protocol."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as plain:
        plain.settimeout(PATIENCE)
        plain.connect(address)
        sock = plain if tls is None else tls.wrap_socket(plain)
        message = struct.pack("<IBBIII", 0, MAIN, 0, 0, 0, 18)
        sock.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(message)) + message)
        magic, major, _, size = struct.unpack("<4sIII", _read(sock, 16))
        assert (magic, major) == (b"REDQ", 2)
        reply = _read(sock, size)
        assert reply[:4] == bytes(4)
        sock.sendall(_encrypted(password.encode() + b"\0", _key(reply[4 : 4 + KEY_BYTES])))
        result = int.from_bytes(_read(sock, 4), "little")
        if sock is not plain:
            sock.close()
        return result


def _key(der: bytes) -> PublicKey:
    """The two integers at the end of a SubjectPublicKeyInfo."""
    start = der.rindex(b"\x02\x81\x81")
    modulus = int.from_bytes(der[start + 3 : start + 3 + 129])
    return PublicKey(modulus, int.from_bytes(der[start + 3 + 129 + 2 :]))


def _encrypted(text: bytes, key: PublicKey) -> bytes:
    """RSAES-OAEP with SHA-1 (RFC 8017, section 7.1.1)."""
    size = (key.modulus.bit_length() + 7) // 8
    block = hashlib.sha1(b"").digest() + bytes(size - len(text) - 2 * HASH - 2) + b"\1" + text
    seed = os.urandom(HASH)
    masked = _xor(block, _mask(seed, len(block)))
    message = b"\0" + _xor(seed, _mask(masked, HASH)) + masked
    return pow(int.from_bytes(message), key.exponent, key.modulus).to_bytes(size)


def _mask(seed: bytes, length: int) -> bytes:
    rounds = range(-(-length // HASH))
    return b"".join(hashlib.sha1(seed + number.to_bytes(4)).digest() for number in rounds)[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data

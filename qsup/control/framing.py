"""Cuts a stream of bytes into JSON objects, with or without white space between them.

QMP does not say how messages are separated, and clients differ: most end them with a newline, ``qemu.qmp`` does
not. So the end of an object is found by counting brackets outside strings, as QEMU's own parser does. Whether the
bytes between are valid JSON is left to the decoder; here only what must not wait for it is refused: bytes that can
never begin an object, an object that is too long, and nesting that is too deep.
"""

from __future__ import annotations

import re
from typing import Final

from qsup.errors import QsupError

MAX_MESSAGE: Final = 256 * 1024
"""The longest message that is accepted, in bytes."""
MAX_DEPTH: Final = 128
"""The deepest nesting of objects and arrays that is accepted."""

_BRACKETS_AND_QUOTES: Final = re.compile(rb'[]["{}]')
_QUOTE_OR_ESCAPE: Final = re.compile(rb'["\\]')
_SPACE: Final = re.compile(rb"[ \t\r\n]*")


class ProtocolError(QsupError):
    """The stream cannot be understood from here on: the connection must be closed."""


class Splitter:
    """Takes bytes as they come, gives whole objects: ``add`` what was read, then ``take`` until None.

    Each byte is looked at once, however the stream was cut, so time is linear in its length. At most
    ``max_message`` bytes of an unfinished object are kept, plus what was added after it.
    """

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self._max = max_message
        self._buffer = bytearray()
        self._seen = 0  # how much of the buffer has been looked at
        self._depth = 0
        self._in_string = False

    def add(self, data: bytes) -> None:
        """Append what was read from the stream."""
        self._buffer += data

    def take(self) -> bytes | None:
        """The next whole object, or None if more bytes are needed; raise ProtocolError if none can follow."""
        if self._depth == 0 and not self._begin():
            return None
        end = self._scan()
        if (end or len(self._buffer)) > self._max:
            raise ProtocolError(f"a message is longer than {self._max} bytes")
        if end is None:
            return None
        message = bytes(self._buffer[:end])
        self._drop(end)
        return message

    def rest(self) -> bytes:
        """Take out what no object was made of: for a connection that goes on with something else than JSON."""
        rest = bytes(self._buffer)
        self._drop(len(rest))
        self._depth, self._in_string = 0, False
        return rest

    def _drop(self, count: int) -> None:
        # CPython moves the start of a bytearray here, not its bytes, so this does not break the linear time.
        del self._buffer[:count]
        self._seen = 0

    def _begin(self) -> bool:
        """Skip white space up to an opening brace; False if the buffer ends before one."""
        space = _SPACE.match(self._buffer)
        self._drop(space.end() if space else 0)
        if not self._buffer:
            return False
        if self._buffer[0] != 0x7B:
            raise ProtocolError(f"expected a JSON object, got {bytes(self._buffer[:1])!r}")
        return True

    def _scan(self) -> int | None:
        """Go on to the end of the object; return where it is, or None if the buffer ends before it."""
        at = self._seen
        while True:
            found = (_QUOTE_OR_ESCAPE if self._in_string else _BRACKETS_AND_QUOTES).search(self._buffer, at)
            if found is None:
                self._seen = len(self._buffer)
                return None
            at = found.end()
            byte = found[0]
            if byte == b"\\":
                if at == len(self._buffer):
                    # The escaped byte has not come yet: look at the backslash again when it has.
                    self._seen = at - 1
                    return None
                at += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            elif byte in b"{[":
                self._deeper()
            else:
                self._depth -= 1
                if self._depth == 0:
                    return at

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ProtocolError(f"a message is nested deeper than {MAX_DEPTH} levels")

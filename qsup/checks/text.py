"""A text in what a guest prints: found whatever the pieces are that it comes in, and whatever its colours. Pure."""

from __future__ import annotations

import re
from typing import Final

_SEQUENCE: Final = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, movements of the cursor
    rb"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and its like: titles, links
    rb"|[ -/]+[0-~]"  # character sets
    rb"|[0-OQ-WYZ\\`-~]"  # all that is one byte more
    rb")"
)
"""Control sequences of terminals (ECMA-48, xterm's ctlseqs)."""
_UNFINISHED: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_LONGEST: Final = 256
"""Bytes of an unfinished sequence that are waited for; what is longer is none."""
_OTHERS: Final = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\r")
"""Control characters that a terminal does not show."""
_LINES: Final = bytes.maketrans(b"\t\r", b" \n")
"""What comes after a carriage return is another line: it is not shown beside what came before."""


class Finder:
    """Looks for a text on one line of a stream of bytes. It keeps no more of them than it must."""

    def __init__(self, text: str) -> None:
        self._wanted = text.encode()
        self._unread = b""
        """The beginning of a control sequence whose end has not come yet."""
        self._last = b""
        """The end of what was shown, in which the text may have begun."""
        self.found = False

    def feed(self, data: bytes) -> bool:
        """More of the stream; whether the text has come by now."""
        if not self.found:
            self._last += self._shown(self._unread + data)
            self.found = self._wanted in self._last
            self._last = self._last[max(0, len(self._last) - len(self._wanted) + 1) :]
        return self.found

    def _shown(self, data: bytes) -> bytes:
        """The text that a terminal would show, as far as that can be told yet."""
        unfinished = _UNFINISHED.search(data)
        self._unread = b""
        if unfinished is not None and len(unfinished[0]) <= _LONGEST:
            self._unread = unfinished[0]
            data = data[: unfinished.start()]
        return _SEQUENCE.sub(b"", data).translate(_LINES, _OTHERS)

"""``qsup log``: what a guest printed, or what its QEMU did; with ``--follow`` what it prints."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TYPE_CHECKING, Any

from qsup.cli.output import show, show_json
from qsup.control.text import printable_lines
from qsup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsup.cli.arguments import Options
    from qsup.control.client import Client


class Escaper:
    """Makes a stream of bytes safe for a terminal, piece by piece."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        self._held = ""

    def __call__(self, data: bytes) -> bytes:
        """The printable form of the next piece."""
        text = self._held + self._decoder.decode(data)
        # Whether a carriage return is part of a line's end shows with the character after it.
        self._held = "\r" if text.endswith("\r") else ""
        return printable_lines(text.removesuffix(self._held)).encode()


def log(daemon: Client, options: Options) -> int:
    """Print the end of the log; with ``--follow`` go on until the daemon or the user ends it."""
    if options.follow:
        return _follow(daemon, options)
    arguments: dict[str, Any] = {"name": options.guests[0], "stderr": options.stderr}
    if options.lines is not None:
        arguments["lines"] = options.lines
    if options.serial is not None:
        arguments["serial"] = options.serial
    answer = daemon.call("guest-log", arguments)
    if options.json:
        show_json(answer)
    else:
        show(printable_lines(answer["text"]) if sys.stdout.isatty() else answer["text"])
    return 0


def _follow(daemon: Client, options: Options) -> int:
    if options.stderr or options.json:
        raise UsageError("--follow shows a serial port as it is: it goes with neither --stderr nor --json")
    tail = 10 if options.lines is None else options.lines
    arguments: dict[str, Any] = {"name": options.guests[0], "read-only": True, "tail": tail}
    if options.serial is not None:
        arguments["serial"] = options.serial
    daemon.call("guest-console", arguments)
    connection, data = daemon.take_over()
    clean: Callable[[bytes], bytes] = Escaper() if sys.stdout.isatty() else bytes
    while True:
        write_all(sys.stdout.fileno(), clean(data))
        data = connection.recv(65536)
        if not data:
            return 0


def write_all(fd: int, data: bytes) -> None:
    """Write all of the data to a descriptor, past Python's buffers."""
    while data:
        data = data[os.write(fd, data) :]

"""``qsup console``: the terminal as a guest's serial console. Ctrl-] leaves."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import tty
from typing import TYPE_CHECKING, Any, Final

from qsup.cli.log import write_all
from qsup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.cli.arguments import Options
    from qsup.control.client import Client

LEAVE: Final = b"\x1d"
"""What a terminal sends for Ctrl-]."""
AHEAD: Final = 64 * 1024
"""How much may be typed, or come through a pipe, before the guest takes it."""
ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


def console(daemon: Client, options: Options) -> int:
    """Attach to the port until Ctrl-], or until the daemon ends it; the end of a pipe ends only the typing."""
    if options.json:
        raise UsageError("a console has no JSON")
    name = options.guests[0]
    arguments: dict[str, Any] = {"name": name, "read-only": options.read_only}
    if options.serial is not None:
        arguments["serial"] = options.serial
    attached = daemon.call("guest-console", arguments)
    connection, first = daemon.take_over()
    keyboard = sys.stdin.fileno()
    with _raw(keyboard):
        # Only now: a key that is pressed after this line was read must not be lost in the change of mode.
        _announce(
            f"{name}: serial port {attached['serial']}{' (read-only)' * options.read_only}{_how_to_leave()}\r"
        )
        left = Relay(connection, keyboard, sys.stdout.fileno(), read_only=options.read_only).run(first)
    _announce(f"left {name}" if left else f"{name}: the daemon ended the console")
    return 0


def _announce(text: str) -> None:
    print(f"qsup: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command talks to its user


def _how_to_leave() -> str:
    return "; Ctrl-] leaves" if sys.stdin.isatty() else ""


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    """A terminal passes every key on meanwhile, and is as it was before afterwards, however this ends."""
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    # By default these signals would end Python without its finally clauses, and leave the terminal raw.
    handlers = {number: signal.signal(number, _exit) for number in ENDINGS}
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


class Relay:
    """Carries bytes between keyboard, guest and screen; neither a slow guest nor an idle one holds up the others."""

    def __init__(self, connection: socket.socket, keyboard: int, screen: int, *, read_only: bool) -> None:
        self._connection = connection
        self._keyboard = keyboard
        self._screen = screen
        self._read_only = read_only
        self._is_terminal = os.isatty(keyboard)
        # A pipe into a read-only console has nothing to say; at a terminal Ctrl-] must still be heard.
        self._listening = self._is_terminal or not read_only
        self._typed = b""

    def run(self, first: bytes) -> bool:
        """Relay until one side ends it; return whether the user did. ``first`` is output that is there already."""
        write_all(self._screen, first)
        while True:
            ready = self._wait()
            if self._connection.fileno() in ready[0] and not self._show():
                return False
            if self._keyboard in ready[0] and self._read_keyboard():
                return True
            if ready[1]:
                self._send()

    def _wait(self) -> tuple[list[int], list[int]]:
        socket_fd = self._connection.fileno()
        poll = select.poll()
        poll.register(socket_fd, select.POLLIN | (select.POLLOUT if self._typed else 0))
        # A terminal is read even while the guest takes nothing: Ctrl-] must always work.
        if self._listening and (self._is_terminal or len(self._typed) < AHEAD):
            poll.register(self._keyboard, select.POLLIN)
        events = dict(poll.poll())
        readable = [fd for fd, event in events.items() if event & ~select.POLLOUT]
        return readable, [socket_fd] if events.get(socket_fd, 0) & select.POLLOUT else []

    def _show(self) -> bool:
        try:
            data = self._connection.recv(65536)
        except ConnectionError:
            return False
        write_all(self._screen, data)
        return bool(data)

    def _read_keyboard(self) -> bool:
        """Take what was typed; return whether the user wants to leave."""
        data = os.read(self._keyboard, 4096)
        leave = self._is_terminal and LEAVE in data
        if not data:
            self._listening = False
        if not self._read_only and len(self._typed) < AHEAD:
            # Beyond that a terminal's keys are lost, as on a real line that nobody reads.
            self._typed += data
        return leave

    def _send(self) -> None:
        try:
            sent = self._connection.send(self._typed, socket.MSG_DONTWAIT)
        except ConnectionError:
            # The daemon has ended it; what it still has to show is read before the end shows there.
            sent = len(self._typed)
        self._typed = self._typed[sent:]

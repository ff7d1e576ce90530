"""The quick path of the command: plain verbs with plain guest names, answered with text from the daemon.

An interpreter that starts and prints a text needs a third of the time that it takes to import argparse and json as
well, and this is what a person or a script waits for most often. So this module imports next to nothing, builds its
request by hand and reads the answer only as far as it must. Whatever it does not recognise is left to the full path:
``None`` says that nothing has been done yet.
"""

import os
import sys

try:
    # The part of socket that is written in C. The other part costs as much time as all else here together: it
    # brings in enum and selectors. It is CPython's own business, hence the way round.
    from _socket import AF_UNIX, SOCK_STREAM, socket
except ImportError:
    from socket import AF_UNIX, SOCK_STREAM, socket  # type: ignore[assignment]  # a subclass

from qsup.cli.verbs import SOME, VERBS

HANDSHAKE = 10.0
"""How long the daemon may take to greet and to answer a question, in seconds."""

_NEGOTIATE = '{"execute":"qmp_capabilities"}\n'
_NEGOTIATED = b'{"return":{}}'
_TEXT = '{"return":{"exit":0,"text":"'
_END = ',"errors":""}}'
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-*?[]!")
"""The characters of guest names and globs; all stand for themselves in JSON."""


def run(words: list[str]) -> int | None:
    """Do what the words ask for and return the exit code, or return None with nothing done."""
    named = len(words) > 1 and words[0] == "--socket"
    path = words[1] if named else socket_path()
    words = words[2:] if named else words
    request = request_for(words)
    if request is None or path is None:
        return None
    try:
        daemon = connect(path)
    except OSError:
        return None  # The full path tries again, and has the words for what is wrong.
    acts = VERBS[words[0]].acts
    try:
        answer = exchange(daemon, request, acts=acts)
    finally:
        daemon.close()
    if answer is None:
        if not acts:
            return None
        from qsup.cli.reply import lost

        return lost(path)
    text = plain_text(answer)
    if text is None:
        from qsup.cli.reply import finish

        return finish(answer)
    sys.stdout.write(text)
    return 0


def request_for(words: list[str]) -> str | None:
    """The request of a plain command line, or None if it is not plain."""
    verb = VERBS.get(words[0]) if words else None
    names = words[1:]
    if verb is None or not verb.quick or (verb.guests == SOME and not names):
        return None
    if any(not name or name[0] == "-" or not _PLAIN.issuperset(name) for name in names):
        return None
    color = "true" if wants_color() else "false"
    listed = ',"names":["' + '","'.join(names) + '"]' if names else ""
    return '{"execute":"' + verb.command + '","arguments":{"format":"text","color":' + color + listed + "}}\n"


def wants_color() -> bool:
    """Colour is for terminals, unless https://no-color.org/ is followed."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def socket_path() -> str | None:
    """Where the daemon listens: QSUP_SOCKET, or the default of :mod:`qsup.paths`; None if there is neither."""
    chosen = os.environ.get("QSUP_SOCKET")
    if chosen:
        return chosen
    if os.geteuid() == 0:
        return "/run/qsup/control.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return runtime + "/qsup/control.sock" if runtime else None


def connect(path: str) -> socket:
    """A connection to the daemon, with a deadline on whatever is done with it; raise OSError."""
    daemon = socket(AF_UNIX, SOCK_STREAM)
    try:
        daemon.settimeout(HANDSHAKE)
        daemon.connect(path)
    except OSError:
        daemon.close()
        raise
    return daemon


def exchange(daemon: socket, request: str, *, acts: bool) -> bytes | None:
    """Send a request and return the line that answers it; None if the daemon goes away or is silent."""
    buffer = b""
    try:  # noqa: SIM105 - contextlib costs more to import than all else here
        daemon.sendall((_NEGOTIATE + request).encode())
    except OSError:
        # A daemon that refuses a client says why, and hangs up without having listened.
        pass
    try:
        while True:
            data = daemon.recv(65536)
            if not data:
                return None
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                answer = line.rstrip(b"\r")
                if answer == _NEGOTIATED:
                    # How long a guest may take to start or stop is for the daemon to say.
                    daemon.settimeout(None if acts else HANDSHAKE)
                elif not answer.startswith((b'{"QMP"', b'{"event"')):
                    return answer
    except OSError:
        return None


def plain_text(answer: bytes) -> str | None:
    """The text of an answer that is nothing but text and success; None for any other."""
    try:
        # The decoder of JSON strings that json itself is built on, without the rest of json. It is CPython's own
        # business, so where it is missing the full path decodes the answer.
        from _json import scanstring
    except ImportError:
        return None
    line = answer.decode(errors="replace")
    if not line.startswith(_TEXT):
        return None
    text, end = scanstring(line, len(_TEXT), True)
    return str(text) if line[end:] == _END else None

"""A QEMU that starts in milliseconds, emulates nothing, and misbehaves on request.

``install(directory, "hang ignore-sigterm")`` makes an executable to be used as ``[qemu] binary``. It reads its modes,
words separated by blanks, from the file ``qemu.mode`` beside it each time it starts, so a test can change them
between two starts. Without modes it is a well-behaved QEMU: it serves QMP on the fd of ``-chardev socket,id=qsup-…``,
answers ``query-status`` (``prelaunch``, ``running`` after ``cont``, ``paused`` after ``stop``) and any other command
with ``{}``, sends STOP, RESUME and POWERDOWN, and ends with SHUTDOWN at ``quit`` and SIGTERM.

``exit=N``            says so on stderr and exits with status N before it accepts a connection
``silent``            accepts connections and never greets
``exit-greeted=N``    exits with status N right after its greeting
``mute``              greets and answers nothing, not even ``qmp_capabilities``
``hang``              takes part in the handshake and answers nothing more
``garbage``           sends something that is not JSON after the handshake
``flood-events``      sends events without end after the handshake
``flood-stderr``      writes to stderr without end; serves nobody
``status=WORD``       answers ``query-status`` with this run state, whatever was commanded
``refuse=COMMAND``    answers this command with an error
``ignore-sigterm``    does not end at SIGTERM
``ignore-quit``       answers ``quit`` and goes on

Asked what it can do (``-chardev socket,id=probe``), it is well-behaved whatever its modes, and knows no command but
``qmp_capabilities`` and ``quit``. Only these modes change that:

``probe-exit=N``      says so on stderr and exits with status N
``probe-hang``        greets and answers nothing
``probe-garbage``     answers with something that is not JSON
``probe-deep``        answers with arrays in arrays, 100,000 deep
``probe-wrong``       answers every command with a string
``probe-mute-error``  answers with neither a value nor an error
``probe-flood``       answers with a line without end
``probe-dies=NAME``   exits with status 3 when it gets this command
``probe-answers``     knows its version, one machine type ``board``, one device type ``gadget`` and one display ``none``
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

GREETING: dict[str, object] = {
    "QMP": {
        "version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "fake"},
        "capabilities": ["oob"],
    }
}


def install(directory: Path, modes: str = "") -> Path:
    """Make the executable ``qemu`` in a directory; return its path."""
    program = directory / "qemu"
    # Isolated and without site-packages, Python starts in a third of the time.
    program.write_text(
        f"#!{sys.executable} -IS\n" + Path(__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    program.chmod(0o755)
    set_modes(program, modes)
    return program


def set_modes(program: Path, modes: str) -> None:
    """Change what an installed fake does from its next start on."""
    program.with_name(f"{program.name}.mode").write_text(modes, encoding="utf-8")


class FakeQemu:
    """Serves one client after the other until told to end."""

    def __init__(self, modes: dict[str, str], listener: socket.socket) -> None:
        self.modes = modes
        self.listener = listener
        self.client: socket.socket | None = None
        self.status = "prelaunch"

    def serve(self) -> None:
        while True:
            self.client, _ = self.listener.accept()
            self.client.setblocking(True)
            try:
                self.converse(self.client)
            except OSError:
                self.client.close()

    def converse(self, client: socket.socket) -> None:
        if "silent" not in self.modes:
            self.say(GREETING)
        if "exit-greeted" in self.modes:
            os._exit(int(self.modes["exit-greeted"]))
        text, decoder = "", json.JSONDecoder()
        while data := client.recv(65536):
            text = (text + data.decode()).lstrip()
            while text:
                try:
                    command, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                if not {"silent", "mute"} & self.modes.keys():
                    self.obey(command)
        client.close()

    def obey(self, command: dict[str, object]) -> None:
        name = command.get("execute", command.get("exec-oob"))
        if name != "qmp_capabilities" and "hang" in self.modes:
            return
        answer = {"status": self.modes.get("status", self.status), "running": self.status == "running"}
        reply: dict[str, object] = {"return": answer if name == "query-status" else {}}
        if name == self.modes.get("refuse"):
            reply = {"error": {"class": "GenericError", "desc": "the fake refuses it"}}
        self.say({**reply, "id": command["id"]} if "id" in command else reply)
        match name:
            case "qmp_capabilities":
                self.misbehave()
            case "cont":
                self.status = "running"
                self.say({"event": "RESUME"})
            case "stop":
                self.status = "paused"
                self.say({"event": "STOP"})
            case "system_powerdown":
                self.say({"event": "POWERDOWN"})
            case "quit" if "ignore-quit" not in self.modes:
                self.end("host-qmp-quit")

    def misbehave(self) -> None:
        assert self.client is not None
        if "garbage" in self.modes:
            self.client.sendall(b"\x00\xff\x1b[31m garbage\n" * 10)
        while "flood-events" in self.modes:
            self.client.sendall(b'{"event": "RTC_CHANGE", "data": {"offset": 1}}\r\n' * 1000)

    def say(self, message: dict[str, object]) -> None:
        assert self.client is not None
        self.client.sendall(json.dumps(message).encode() + b"\r\n")

    def end(self, reason: str) -> None:
        if self.client is not None:
            with contextlib.suppress(OSError):
                self.say({"event": "SHUTDOWN", "data": {"guest": False, "reason": reason}})
        os._exit(0)


def be_asked(modes: dict[str, str], client: socket.socket) -> None:
    """The conversation of a probe."""
    if "probe-exit" in modes:
        print(f"fake qemu: exiting with status {modes['probe-exit']}, as told", file=sys.stderr)
        sys.exit(int(modes["probe-exit"]))
    client.sendall(json.dumps(GREETING).encode() + b"\r\n")
    while data := client.recv(65536):
        # A probe asks one thing at a time.
        request = json.loads(data)
        name = request["execute"]
        if "probe-hang" in modes:
            signal.pause()
        if name == modes.get("probe-dies"):
            print(f"fake qemu: {name} is too much", file=sys.stderr)
            sys.exit(3)
        while "probe-flood" in modes:
            client.sendall(b"[" * 65536)
        client.sendall(probe_answer(modes, name, request.get("arguments")) + b"\r\n")
        if name == "quit":
            return


ANSWERS = {
    "query-version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "fake"},
    "query-machines": [{"name": "board-1.0", "alias": "board", "cpu-max": 4}],
    "qom-list-properties": [{"name": "type"}, {"name": "device"}],
    "qom-list-types": [{"name": "gadget"}],
    "device-list-properties": [{"name": "size"}],
}


def probe_answer(modes: dict[str, str], name: str, arguments: object) -> bytes:
    if name in ("qmp_capabilities", "quit"):
        return b'{"return": {}}'
    if "probe-garbage" in modes:
        return b"\x00\xff\x1b[31m garbage"
    if "probe-deep" in modes:
        return b'{"return": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    if "probe-wrong" in modes:
        return b'{"return": "a word"}'
    if "probe-mute-error" in modes:
        return b"{}"
    if "probe-answers" in modes and arguments == {"implements": "cpu", "abstract": False}:
        return b'{"return": []}'
    if "probe-answers" in modes and name in ANSWERS:
        return json.dumps({"return": ANSWERS[name]}).encode()
    return b'{"error": {"class": "CommandNotFound", "desc": "there is no such command here"}}'


def main(argv: list[str]) -> None:
    words = Path(f"{argv[0]}.mode").read_text(encoding="utf-8").split()
    modes = {name: value for name, _, value in (word.partition("=") for word in words)}
    if argv[2:] == ["help"]:
        if argv[1] == "-display" and "probe-answers" in modes:
            print("Available display backend types:\nnone\n\nSee the manual.")
        return
    if "exit" in modes:
        print(f"fake qemu: exiting with status {modes['exit']}, as told", file=sys.stderr)
        sys.exit(int(modes["exit"]))
    if "ignore-sigterm" in modes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while "flood-stderr" in modes:
        os.write(2, b"fake qemu: something is wrong\n" * 1000)
    probe = next((word for word in argv if word.startswith("socket,id=probe,")), None)
    if probe is not None:
        be_asked(modes, socket.socket(fileno=int(probe.rpartition("fd=")[2])))
        return
    chardev = next(word for word in argv if re.match(r"socket,.*\bid=qsup-", word))
    found = re.search(r"\bfd=(\d+)", chardev)
    assert found is not None
    listener = socket.socket(fileno=int(found[1]))
    listener.setblocking(True)
    fake = FakeQemu(modes, listener)
    if "ignore-sigterm" not in modes:
        signal.signal(signal.SIGTERM, lambda *_: fake.end("host-signal"))
    fake.serve()


if __name__ == "__main__":
    main(sys.argv)

"""Bare QEMU: the same options, the least that starts it, and the same point of arrival: its vCPUs run."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from qsup.argv.build import build
from qsup.argv.invocation import QMP_FD, Invocation, LaunchContext
from qsup.probe import probe
from qsup.spec.model import GuestSpec


class Bare:
    """One QEMU, started without qsup."""

    def __init__(self, spec: GuestSpec, binary: str) -> None:
        self._home = tempfile.TemporaryDirectory()
        context = LaunchContext(token="0" * 16, run_dir=self._home.name)
        self._invocation: Invocation = build(spec, probe(binary), context)
        self._buffer = b""

    def start(self) -> float:
        """Start it; return the seconds until its vCPUs run."""
        began = time.perf_counter()
        home = Path(self._home.name)
        listeners = {
            listener.fd: self._listen(home / listener.file) for listener in self._invocation.listeners
        }
        self._qmp = socket.socket(socket.AF_UNIX)
        self._qmp.connect(listeners[QMP_FD].getsockname())
        sources = [os.dup2(listener.fileno(), target + 100) for target, listener in listeners.items()]
        pairs = zip(sources, listeners, strict=True)
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in pairs]
        actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
        argv = self._invocation.argv
        self.pid = os.posix_spawn(argv[0], argv, {}, file_actions=actions)
        for source in sources:
            os.close(source)
        for listener in listeners.values():
            listener.close()
        self._until("QMP")
        self._qmp.sendall(b'{"execute": "qmp_capabilities"}')
        self._until("return")
        self._qmp.sendall(b'{"execute": "cont"}')
        self._until("RESUME")
        return time.perf_counter() - began

    def end(self) -> None:
        """Kill it and clean up."""
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        self._qmp.close()
        self._home.cleanup()

    @staticmethod
    def _listen(path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        return listener

    def _until(self, word: str) -> None:
        """Read messages up to one that has this key or is this event."""
        while True:
            while b"\n" not in self._buffer:
                self._buffer += self._qmp.recv(65536)
            line, _, self._buffer = self._buffer.partition(b"\n")
            message = json.loads(line)
            if word in message or message.get("event") == word:
                return

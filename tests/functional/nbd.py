"""An NBD server for a test: qemu-nbd, ready when it has been started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from qsup.spec.nbd import parse

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path


def serve(address: str, image: Path, format_: str, cleanup: ExitStack) -> str:
    """Serve an image under an address like this one, at a port or socket that is free; return that address.

    Whoever connects may leave again: the server ends with the test.
    """
    if shutil.which("qemu-nbd") is None:
        pytest.skip("qemu-nbd is not installed")
    export = parse(address)
    if export.socket:
        path = image.with_suffix(".sock")
        at, words = f"nbd+unix:///{quote(export.name)}?socket={path}", ["--socket", str(path)]
    else:
        port = free_port()
        at, words = (
            f"nbd://127.0.0.1:{port}/{quote(export.name)}",
            ["--bind", "127.0.0.1", "--port", str(port)],
        )
    pid_file = image.with_suffix(".pid")
    server = ["qemu-nbd", "--fork", "--persistent", "--pid-file", str(pid_file), "--format", format_]
    subprocess.run(
        [*server, "--export-name", export.name, *words, str(image)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    cleanup.callback(os.kill, int(pid_file.read_text()), signal.SIGTERM)
    return at


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

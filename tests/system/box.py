"""A real systemd as PID 1 of a container: this host's own root or a tree, below a layer that goes at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL: Final = Path(__file__).parent / "sdbox"
DEADLINE: Final = 120.0


class Box:
    """A running container."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._environment = {**os.environ, "SDBOX_DIR": str(directory)}

    def tool(self, verb: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Use the tool on this container."""
        return subprocess.run(
            [TOOL, verb, self._name, *words],
            env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=DEADLINE, check=False,
        )  # fmt: skip

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command in it; both its streams come as one."""
        return subprocess.Popen(
            [TOOL, "sh", self._name, *words],
            env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *words: str) -> str:
        """Run a command in it, which has to succeed; what it printed on both streams."""
        done = self.tool("sh", "sh", "-c", 'exec "$@" 2>&1', "sh", *words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str) -> str:
        """Run a command in it, which has to fail; what it printed."""
        done = self.tool("sh", "sh", "-c", 'exec "$@" 2>&1', "sh", *words)
        assert done.returncode != 0, f"{' '.join(words)}: {done.stdout}"
        return done.stdout


@contextlib.contextmanager
def box(name: str, directory: Path, *words: str | Path) -> Iterator[Box]:
    """A container for as long as the context lasts; skips, with the reason, where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("only root can make namespaces with all that a systemd needs")
    directory.mkdir()
    # Its cgroup is named after it, and other checkouts on this host may run the same test.
    made = Box(f"{name}-{os.getpid()}", directory)
    started = made.tool("up", *words)
    try:
        if started.returncode != 0:
            pytest.skip(f"no systemd can be booted here: {started.stderr.strip()[-300:]}")
        yield made
    finally:
        made.tool("down")

"""TAB in real shells on a pseudo-terminal, with the guests of a real daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from qsup.cli.completion import script
from tests.functional.harness import DEADLINE, IDLE, Site

PROMPT: Final = "ask> "
DONE: Final = "that was it"


class Shell(NamedTuple):
    """How a shell is started, and what it reads first: nothing of this host's, only our script and a prompt."""

    start: tuple[str, ...]
    reads: str


SHELLS: Final = {
    "bash": Shell(("bash", "--noprofile", "--rcfile", "{rc}", "-i"), "PS1='{PROMPT}'\nsource '{script}'\n"),
    "zsh": Shell(
        ("zsh", "-d", "-i"),
        "unsetopt beep prompt_cr prompt_sp\nautoload -Uz compinit\ncompinit -u -D\nsource '{script}'\nPS1='{PROMPT}'\n",
    ),
    "fish": Shell(
        ("fish", "--no-config", "--init-command", "source {rc}", "--interactive"),
        "function fish_prompt; echo -n '{PROMPT}'; end\nset -g fish_greeting\nsource '{script}'\n",
    ),
}


class Terminal:
    """A shell on a terminal of its own, in which ``qsup`` writes down what it is told."""

    def __init__(self, name: str, site: Site) -> None:
        self._told = site.root / "told"
        binaries = site.root / "bin"
        binaries.mkdir(exist_ok=True)
        qsup = binaries / "qsup"
        qsup.write_text(
            f'#!/bin/bash\n[ "$1" != __complete ] || exec {sys.executable} -m qsup.cli "$@"\n'
            f'printf "%s\\n" "$@" >"{self._told}"\necho {DONE}\n'
        )
        qsup.chmod(0o755)
        rc = site.root / ".zshrc"
        rc.write_text(SHELLS[name].reads.format(script=script(name), PROMPT=PROMPT))
        environment = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(site.root),
            "QSUP_SOCKET": str(site.socket),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
        }
        self._fd, screen = pty.openpty()
        start = ("setsid", "--ctty", *(word.format(rc=rc) for word in SHELLS[name].start))
        self._process = subprocess.Popen(
            start, env=environment, cwd=site.root, stdin=screen, stdout=screen, stderr=screen
        )
        os.close(screen)
        self.shown = b""
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        self._arrived = asyncio.Event()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            self.shown += os.read(self._fd, 65536)
        self._arrived.set()

    async def ready(self) -> None:
        """Wait for the first prompt."""
        await self._until(lambda: PROMPT.encode() in self.shown)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()

    async def completed(self, keys: str) -> list[str]:
        """The words that qsup gets when somebody types this, with ``\\t`` for TAB, and Enter."""
        self.shown = b""
        os.write(self._fd, f"{keys}\n".encode())
        await self._until(lambda: PROMPT.encode() in self.shown.partition(f"{DONE}\r".encode())[2])
        return self._told.read_text().splitlines()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


@pytest.mark.parametrize("name", SHELLS)
async def test_tab_completes_verbs_options_and_the_guests_that_there_are(empty: Site, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    for guest in ("heart", "web@1", "web@2"):
        empty.guest(guest, IDLE)
    await empty.start()
    with contextlib.closing(Terminal(name, empty)) as terminal:
        await terminal.ready()
        assert await terminal.completed("qsup sta\trt he\t") == ["start", "heart"]
        assert await terminal.completed("qsup st\t\b\bstop web@1 h\t") == ["stop", "web@1", "heart"]
        assert await terminal.completed("qsup start web@\t2 --no\t") == ["start", "web@2", "--no-wait"]
        assert await terminal.completed("qsup drill heart --pan\t") == ["drill", "heart", "--panic"]
        assert await terminal.completed("qsup set heart memory.si\t1GiB") == [
            "set",
            "heart",
            "memory.size=1GiB",
        ]
        assert await terminal.completed("qsup 'sto\t hea\t") == ["stop", "heart"]
        (empty.root / "file.toml").touch()
        assert await terminal.completed("qsup check --no-host fi\t") == ["check", "--no-host", "file.toml"]
        await empty.leave()
        assert await terminal.completed("qsup stop he\tart") == ["stop", "heart"]
        for complaint in (b"Traceback", b"qsup:", b"daemon"):
            assert complaint not in terminal.shown, (
                "nobody is told in the middle of a line that no daemon runs"
            )

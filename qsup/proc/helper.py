"""One helper process: started with its end of the socket, asked whether it is ready, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, Self

from qsup import endpoint
from qsup.argv.helper import HELPER_FD, Helper
from qsup.errors import LaunchError, QsupError
from qsup.proc.account import Account, confined
from qsup.proc.bounded import last_written
from qsup.proc.identity import HELPER, Identity, is_helper
from qsup.proc.process import Process

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from pathlib import Path

    from qsup.status import ExitStatus

READY: Final = 10.0
"""Seconds in which a helper has to answer; each of them does within milliseconds."""
PATIENCE: Final = 2.0
"""Seconds for a helper to end after SIGTERM, and again after SIGKILL; one that hangs in the kernel is left to it."""
WORDS: Final = 2048
"""Bytes of a helper's last words."""


def make_home(helper: Helper, account: Account | None) -> None:
    """Make a helper's directory where it is not there; it and its files belong to whom the helper runs as.

    Access by a list would not do: swtpm sets the mode of its files anew. Raises OSError.
    """
    if helper.directory is None:
        return
    os.makedirs(helper.directory, mode=0o700, exist_ok=True)
    if account is None or not helper.is_confined:
        return
    with os.scandir(helper.directory) as found:
        # What has a second name is somebody else's as well.
        files = [one.path for one in found if one.is_file(follow_symlinks=False) and one.stat().st_nlink == 1]
    for path in (helper.directory, *files):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


class HelperProcess:
    """A helper that runs, or has just ended. ``close`` has to be called; ``end`` does so."""

    def __init__(self, helper: Helper, process: Process, run_dir: Path) -> None:
        self.helper = helper
        self.process = process
        self._run_dir = run_dir
        self._ended = asyncio.create_task(process.wait())

    @classmethod
    def spawn(
        cls, helper: Helper, run_dir: Path, token: str, end: socket.socket, account: Account | None = None
    ) -> Self:
        """Start it with its end of the socket, and as a user of its own if there is one for it.

        Raises LaunchError if the program cannot be executed, or OSError.
        """
        # What waits in the socket is there already, and a helper may not expect a socket that does not block.
        end.setblocking(True)
        with contextlib.ExitStack() as ours:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            ours.callback(os.close, null)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            log = os.open(run_dir / helper.log, flags, 0o600)
            ours.callback(os.close, log)
            fds = {0: null, 1: log, 2: log, HELPER_FD: end.fileno()}
            argv = confined(helper.argv, account if helper.is_confined else None)
            process = Process.spawn(argv, fds, token, {HELPER: str(run_dir / helper.name)})
        return cls(helper, process, run_dir)

    @classmethod
    def adopt(cls, helper: Helper, identity: Identity, run_dir: Path) -> Self | None:
        """The very process, alive or just ended; None if it is gone."""
        process = Process.adopt(identity, is_helper)
        return None if process is None else cls(helper, process, run_dir)

    async def ready(self, end: socket.socket) -> None:
        """Wait until it answers on QEMU's end of the socket. Raises LaunchError with its last words if it does not."""
        if not self.helper.question:
            return
        try:
            answer = asyncio.create_task(_ask(end, self.helper.question, self.helper.answer))
            async with asyncio.timeout(READY):
                await asyncio.wait({answer, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise LaunchError(f"{self}: it did not answer within {READY:g} s{self._said()}") from None
        finally:
            answer.cancel()
        if not answer.done() or answer.exception() is not None or not answer.result():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.wait()
            status = self._ended.result() if self._ended.done() else None
            raise LaunchError(
                f"{self} ended before it was ready ({status or 'status unknown'}){self._said()}"
            )

    async def wait(self) -> ExitStatus | None:
        """Wait for its end; return the status, or None if the kernel does not tell it to a stranger."""
        return await asyncio.shield(self._ended)

    @property
    def ended(self) -> bool:
        """Whether its end has been seen."""
        return self._ended.done()

    def words(self) -> str:
        """The end of what it wrote."""
        return last_written(self._run_dir / self.helper.log, WORDS).decode(errors="replace")

    def _said(self) -> str:
        last = last_line(self.words())
        return f"; it said: {last}" if last else ""

    def __str__(self) -> str:
        return f"the helper {self.helper.name} ({os.path.basename(self.helper.argv[0])})"

    def close(self) -> None:
        """Forget the process; it is not touched."""
        self._ended.cancel()
        # The pidfd must not be closed while the loop still listens to it.
        self._ended.add_done_callback(lambda _: self.process.close())


def last_line(text: str) -> str:
    """The last line that is not blank; empty if there is none."""
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line[:500] for line in lines if line), "")


async def end(helpers: Iterable[HelperProcess]) -> None:
    """End all of them: by SIGTERM, then by SIGKILL; what a helper has started goes with it."""
    left = list(helpers)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for one in left:
                one.process.signal_group(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    for one in left:
                        await one.wait()
    finally:
        for one in left:
            one.close()


async def _ask(end: socket.socket, question: bytes, size: int) -> bool:
    """Ask, and read the answer to its last byte: helpers write theirs in pieces. False if the other end hangs up."""
    loop = asyncio.get_running_loop()
    end.setblocking(False)
    try:
        await loop.sock_sendall(end, question)
        while size:
            piece = await loop.sock_recv(end, size)
            if not piece:
                return False
            size -= len(piece)
        return True
    finally:
        end.setblocking(True)


async def connected(run_dir: Path, file: str) -> socket.socket:
    """A connection to a helper's socket. Raises LaunchError."""
    try:
        return await endpoint.connect(run_dir, file)
    except QsupError as error:
        raise LaunchError(str(error)) from error

"""A short command that is run to its end for what it does, ``qemu-img`` say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from qsup.errors import LaunchError
from qsup.proc.process import CATCHABLE, ENVIRONMENT
from qsup.proc.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SAID: Final = 4096
"""Bytes of what a command has written that are kept, from the end."""
FLOOD: Final = 1 << 20
"""Bytes that a command may write; one that writes more is not read any further, and so waits for its deadline."""
PATIENCE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL for a command that took too long."""
DEATH: Final = 1.0
"""Seconds that a killed command may take to go. One that hangs in the kernel is left to it."""


async def run(
    argv: Sequence[str],
    deadline: float,
    *,
    given: bytes = b"",
    source: int | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> tuple[ExitStatus, str]:
    """Execute ``argv`` (an absolute path first); return its status and the end of what it wrote.

    It reads ``given`` on its standard input, or has the fd ``source`` there. Raises LaunchError if it cannot be
    executed, or takes longer than ``deadline`` seconds. It is ended then with all that it has started, as it is when
    the caller is cancelled.
    """
    with contextlib.ExitStack() as ours:
        output = ours.enter_context(_Output())
        if source is None:
            source = os.memfd_create("given", os.MFD_CLOEXEC)
            ours.callback(os.close, source)
            os.pwrite(source, given, 0)
        with output.writer() as writer:
            child = _Child(_spawned(argv, environment, {0: source, 1: writer, 2: writer}))
        return await _ended(child, argv[0], deadline), output.end()


async def _ended(child: _Child, name: str, deadline: float) -> ExitStatus:
    try:
        async with asyncio.timeout(deadline):
            await child.end()
    except TimeoutError:
        child.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await child.end()
        child.signal(signal.SIGKILL)
        raise LaunchError(f"{name} took longer than {deadline:g} s and was killed") from None
    finally:
        status = await child.reaped()
    return status


def _spawned(argv: Sequence[str], environment: Mapping[str, str], fds: Mapping[int, int]) -> int:
    """The pid of the command; asyncio's own way of starting a child would start a thread for each."""
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in fds.items()]
    try:
        return os.posix_spawn(
            argv[0], list(argv), {name: value.encode() for name, value in environment.items()},
            file_actions=actions, setsid=True, setsigmask=[], setsigdef=CATCHABLE,
        )  # fmt: skip
    except OSError as error:
        raise LaunchError(f"cannot execute {argv[0]}: {error.strerror}") from error


class _Child:
    """A command that leads a session of its own; until ``reaped`` its pid and its group can be nobody else's."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)

    async def end(self) -> None:
        """Wait until it has ended."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._pidfd, lambda: None if ended.done() else ended.set_result(None))
        try:
            await ended
        finally:
            loop.remove_reader(self._pidfd)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it has started and that is still of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    async def reaped(self) -> ExitStatus:
        """Its status; one that still runs is killed first."""
        try:
            status = self._status()
            if status is None:
                self.signal(signal.SIGKILL)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DEATH):
                        await self.end()
                status = self._status()
            return status or ExitStatus("signal", signal.SIGKILL)
        finally:
            os.close(self._pidfd)

    def _status(self) -> ExitStatus | None:
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        if result is None:
            return None
        return ExitStatus("exit" if result.si_code == os.CLD_EXITED else "signal", result.si_status)


class _Output:
    """What a command writes, read as it comes; a context manager. Only the end of it is kept."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._kept = b""
        self._left = FLOOD

    def __enter__(self) -> _Output:
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)

    @contextlib.contextmanager
    def writer(self) -> Iterator[int]:
        """The end to write to, for a child that is started meanwhile."""
        try:
            yield self._writer
        finally:
            os.close(self._writer)

    def end(self) -> str:
        """The last of what was written so far: what the command has started itself may go on writing."""
        while self._read():
            pass
        return self._kept.decode(errors="replace").strip()

    def _read(self) -> bool:
        """Take what is there; False if that is nothing, or too much has come already."""
        try:
            data = os.read(self._reader, 1 << 16) if self._left > 0 else b""
        except BlockingIOError:
            return False
        self._left -= len(data)
        self._kept = (self._kept + data)[-SAID:]
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
        return bool(data)

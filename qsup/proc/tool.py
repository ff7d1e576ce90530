"""A short command that is run to its end for what it does, ``qemu-img`` say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

from qsup.errors import LaunchError
from qsup.pidfd import end_of
from qsup.proc.process import ENVIRONMENT
from qsup.spawn.child import DEATH, Child
from qsup.status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SAID: Final = 4096
"""Bytes of what a command has written that are kept, from the end."""
FLOOD: Final = 1 << 20
"""Bytes that a command may write; one that writes more is not read any further, and so waits for its deadline."""
PATIENCE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL for a command that took too long."""


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
            child = Child(argv, environment, {0: source, 1: writer, 2: writer})
        return await _ended(child, argv[0], deadline), output.end()


async def _ended(child: Child, name: str, deadline: float) -> ExitStatus:
    try:
        async with asyncio.timeout(deadline):
            await end_of(child.pidfd)
    except TimeoutError:
        child.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await end_of(child.pidfd)
        child.signal(signal.SIGKILL)
        raise LaunchError(f"{name} took longer than {deadline:g} s and was killed") from None
    finally:
        status = await _reaped(child)
    return status


async def _reaped(child: Child) -> ExitStatus:
    """Its status; one that still runs is killed first."""
    try:
        if (status := child.wait()) is None:
            child.signal(signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEATH):
                    await end_of(child.pidfd)
            status = child.wait()
        return status or ExitStatus("signal", signal.SIGKILL)
    finally:
        child.close()


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

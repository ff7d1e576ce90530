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
    from collections.abc import Mapping, Sequence

SAID: Final = 4096
"""Bytes of what a command has written that are kept, from the end."""
DEATH: Final = 1.0
"""Seconds that a killed command may take to go. One that hangs in the kernel is left to it."""


async def run(argv: Sequence[str], deadline: float) -> tuple[ExitStatus, str]:
    """Execute ``argv`` (an absolute path first); return its status and the end of what it wrote.

    Raises LaunchError if it cannot be executed, or takes longer than ``deadline`` seconds. It is killed then, as it
    is when the caller is cancelled.
    """
    said = os.memfd_create("said", os.MFD_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = await _run(argv, null, said, deadline)
        size = os.fstat(said).st_size
        return status, os.pread(said, SAID, max(0, size - SAID)).decode(errors="replace").strip()
    finally:
        os.close(null)
        os.close(said)


async def _run(argv: Sequence[str], null: int, said: int, deadline: float) -> ExitStatus:
    pidfd = _spawned(argv, {0: null, 1: said, 2: said})
    try:
        async with asyncio.timeout(deadline):
            await _ended(pidfd)
    except TimeoutError:
        raise LaunchError(f"{argv[0]} took longer than {deadline:g} s and was killed") from None
    finally:
        status = _reaped(pidfd) or await _killed(pidfd)
        os.close(pidfd)
    return status


def _spawned(argv: Sequence[str], fds: Mapping[int, int]) -> int:
    """A pidfd of the command; asyncio's own way of starting a child would start a thread for each."""
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in fds.items()]
    try:
        pid = os.posix_spawn(
            argv[0], list(argv), ENVIRONMENT,
            file_actions=actions, setsid=True, setsigmask=[], setsigdef=CATCHABLE,
        )  # fmt: skip
    except OSError as error:
        raise LaunchError(f"cannot execute {argv[0]}: {error.strerror}") from error
    return os.pidfd_open(pid)


async def _ended(pidfd: int) -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: None if ended.done() else ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)


def _reaped(pidfd: int) -> ExitStatus | None:
    """The status of a command that has ended."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if result is None:
        return None
    return ExitStatus("exit" if result.si_code == os.CLD_EXITED else "signal", result.si_status)


async def _killed(pidfd: int) -> ExitStatus:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEATH):
            await _ended(pidfd)
    return _reaped(pidfd) or ExitStatus("signal", signal.SIGKILL)

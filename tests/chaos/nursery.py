"""Where daemons come from: ``python -m tests.chaos.nursery FD BOARD`` has everything loaded, and forks one on request.

A daemon so begun is ``qsupd`` as it would be executed, with every point of ``points`` wrapped, and begins in a tenth
of the time. The nursery is its parent, and adopts whatever it leaves behind, as the first process of a host does: no
process can get lost unseen, and the runner is told how each has ended.

Over the socket FD come messages ``{"argv": [...], "spawner": PATH or null}`` with two fds: one for stderr, one for
reports; with one fd, for stderr, the spawner itself is meant. What goes back is ``{"pid": N}`` for each, and
``{"ended": N, "status": S}`` for each process that was reaped.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from qsup import daemon
from qsup.spawn import server
from qsup.spawn.spawn import SPAWNER
from tests.chaos import points
from tests.chaos.board import Board

PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve until the runner closes the socket."""
    channel, board = socket.socket(fileno=int(sys.argv[1])), Board(Path(sys.argv[2]), points.POINTS)
    points.install(board)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, lambda *_: reap(channel))
    while True:
        data, fds, *_ = socket.recv_fds(channel, 1 << 16, 2)
        if not data:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            channel.close()
            begin(**json.loads(data), fds=fds)
        for fd in fds:
            os.close(fd)
        channel.send(json.dumps({"pid": pid}).encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def reap(channel: socket.socket) -> None:
    """Tell of all that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        channel.send(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def begin(argv: list[str], spawner: str | None, fds: list[int]) -> None:
    """Be a daemon, or a spawner."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.setsid()
    stderr, *reports = fds
    os.dup2(stderr, 2, inheritable=False)
    os.close(stderr)
    if reports:
        out = socket.socket(fileno=reports[0])
        signal.signal(signal.SIGUSR1, lambda *_: report(out))
        if spawner is not None:
            os.environ[SPAWNER] = spawner
    sys.argv = [sys.argv[0], *argv]
    status = 70
    try:
        status = daemon.main() if reports else server.main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def report(out: socket.socket) -> None:
    """Tell what cannot be seen from outside."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        tasks = set()
    out.send(json.dumps({"tasks": Counter(map(what, tasks)), "threads": threading.active_count()}).encode())


def what(task: asyncio.Task[Any]) -> str:
    """What a task does; for one of an actor's deeds, which one it is."""
    coroutine: Any = task.get_coro()
    if (frame := getattr(coroutine, "cr_frame", None)) and "deed" in frame.f_locals:
        coroutine = frame.f_locals["deed"]
    return str(getattr(coroutine, "__qualname__", coroutine))


if __name__ == "__main__":
    main()

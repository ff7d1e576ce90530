"""``qsup-spawn``: starts QEMUs and all other processes in the daemon's name, and goes on when the daemon does not.

What runs as a child of another process is held to what holds that process: a filter of system calls, a mount
namespace, a bounding set. The daemon reads what strangers say, and is to be held to much; a QEMU, its helpers and the
operator's own commands need more. So they are this process's children: it reads what the daemon alone can say.

It never waits for a child by itself. One that has ended stays a zombie until its status is asked for: the kernel keeps
that better than any record, also while there is no daemon.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import sys
from itertools import islice
from typing import TYPE_CHECKING, Final

from qsup.endpoint import bind
from qsup.errors import QsupError, UsageError
from qsup.fdstore import inherited
from qsup.handed import take
from qsup.notify import Notifier, watchdog_interval
from qsup.rights import credentials, keep_inherited
from qsup.spawn import here
from qsup.spawn.wire import VERSION, Answer, Garbled, Request, receive, send

if TYPE_CHECKING:
    import socket

    from qsup.spawn.order import Order

log: Final = logging.getLogger("qsup-spawn")

NAME: Final = "spawn"
"""``FileDescriptorName=`` in the socket's unit."""
BACKLOG: Final = 128
PATIENCE: Final = 2.0
"""Seconds for a client to say what it wants once it is connected."""
KEPT: Final = 1024
"""Children to remember; of older ones those that have ended are let go of."""


def main() -> int:
    """Serve until a signal ends it: the children live on. Return the exit status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o077)
    keep_inherited()
    given = command_line().parse_args()
    notifier = Notifier.from_environment()
    try:
        listener = _listener(given.socket)
    except QsupError as error:
        log.error("%s", error)
        return error.exit_code
    spawner = Spawner(listener)
    notifier.ready(f"starts what the daemon asks for at {listener.getsockname()}")
    interval = watchdog_interval()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        if poll.poll(None if interval is None else interval * 1000):
            spawner.serve_next()
        notifier.watchdog()


def command_line() -> argparse.ArgumentParser:
    """The options, as argparse knows them; the manual is made of it."""
    parser = argparse.ArgumentParser(
        prog="qsup-spawn",
        description="Start QEMUs and all other processes in the name of qsupd, which is held to less than they need.",
    )
    parser.add_argument("--socket", metavar="PATH", help="where to listen; without it, where systemd does")
    return parser


def _listener(path: str | None) -> socket.socket:
    """The socket that is named, or that systemd has opened. Raises QsupError."""
    if path is not None:
        listener = bind(path)
        listener.listen(BACKLOG)
        return listener
    handed = take(inherited(), NAME)
    if handed is None:
        raise UsageError(f"systemd hands over no socket named {NAME}; --socket PATH opens one")
    return handed


class Spawner:
    """Serves the clients of one listening socket, one after the other."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._children: dict[int, None] = {}
        """Their pids, oldest first, and maybe those of some that have been reaped."""
        self._passing: dict[int, int] = {}
        """Those whose status only their client may ask for, with its pid."""

    def serve_next(self) -> None:
        """Serve the next client."""
        line, _ = self._listener.accept()
        with line:
            self.serve(line)

    def serve(self, line: socket.socket) -> None:
        """Serve a client. What goes wrong is its business alone, and is told to it."""
        line.settimeout(PATIENCE)
        try:
            if _may(line):
                self._answer(line)
        except Garbled as error:
            log.error("a request that cannot be used: %s", error)
            with contextlib.suppress(OSError):
                send(line, Answer(error=f"cannot use the request: {error}"))
        except OSError as error:
            log.error("a client has gone, or says nothing: %s", error)

    def _answer(self, line: socket.socket) -> None:
        request, fds = receive(line, Request)
        with contextlib.ExitStack() as ours:
            for fd in fds:
                ours.callback(os.close, fd)
            if request.version != VERSION:
                told = "it is of another version of qsup; `systemctl restart qsup-spawn` harms no guest"
                send(line, Answer(error=told))
            elif (order := request.ordered()) is not None:
                self._spawn(line, order, fds)
            elif len(fds) == 1:
                send(line, Answer(status=here.reap(fds[0])))
            else:
                raise Garbled("one pidfd was expected")

    def _spawn(self, line: socket.socket, order: Order, fds: list[int]) -> None:
        if not order.argv or len(fds) != len(order.targets):
            raise Garbled(f"{len(fds)} fds were expected to be {len(order.targets)}, and a program was")
        try:
            born = here.spawn(order, fds)
        except QsupError as error:
            send(line, Answer(error=str(error)))
            return
        self._children.pop(born.pid, None)
        self._passing.pop(born.pid, None)
        self._children[born.pid] = None
        client = credentials(line).pid
        if client and not order.kept:
            self._passing[born.pid] = client
        try:
            send(line, Answer(pid=born.pid), [born.pidfd])
        except OSError:
            # Whoever has not heard of it cannot look after it.
            signal.pidfd_send_signal(born.pidfd, signal.SIGKILL)
            raise
        finally:
            os.close(born.pidfd)
            self._let_go()

    def _let_go(self) -> None:
        """Reap those that have ended and that nobody will ask for: their client has gone, or they are too many."""
        for pid, client in tuple(self._passing.items()):
            if not os.path.exists(f"/proc/{client}"):
                _reap(pid)
            if not _is_ours(pid):
                del self._passing[pid]
        for pid in tuple(islice(self._children, max(0, len(self._children) - KEPT))):
            _reap(pid)
            if not _is_ours(pid):
                del self._children[pid]


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def _is_ours(pid: int) -> bool:
    """Whether it is a child that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _may(line: socket.socket) -> bool:
    """Whether it is root who asks, or whoever this runs as."""
    return credentials(line).uid in {0, os.geteuid()}


if __name__ == "__main__":
    sys.exit(main())

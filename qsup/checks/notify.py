"""The door at which guests' systemd reports: one vsock port of the host for all guests of a daemon.

The credential ``vmm.notify_socket`` names the port to them (systemd(1), "System credentials"). systemd connects for
each message, sends it, shuts down its side and waits until we hang up, before it goes on with its boot. Who speaks
is told by the context id of the connection, which the host's kernel vouches for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from qsup.bucket import Bucket
from qsup.checks.message import Boot, parse
from qsup.checks.verdict import Passed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Hear = Callable[[Mapping[str, str]], None]

log = logging.getLogger(__name__)

LEAST_PORT: Final = 1 << 16
"""Ports below are left to what people choose."""
MOST_PORT: Final = (1 << 32) - 2
BACKLOG: Final = 128
MESSAGE_LIMIT: Final = 16 << 10
PATIENCE: Final = 2.0
"""Seconds for a message to begin."""
LINGER: Final = 0.5
"""Seconds for it to go on, or to end; what has come by then counts. Not every vsock tells of a half that is shut."""
OPEN: Final = 8
"""Connections that one guest may have open."""
RATE: Final = 20.0
"""Messages a second that a guest may send in the long run; there is one for each target of its boot."""
BURST: Final = 400.0
ACCEPTS: Final = 1000.0
"""Connections a second that are looked at, whoever makes them."""
SHORTAGE: Final = 1.0
"""Seconds of rest when no more connections can be taken."""


def port_of(directory: str) -> int:
    """The vsock port of the daemon that works in a directory.

    It stays the same, as guests outlive the daemon that has told them; and no two daemons of a host have the same.
    """
    chosen = int.from_bytes(hashlib.sha256(directory.encode()).digest()[:8])
    return LEAST_PORT + chosen % (MOST_PORT - LEAST_PORT + 1)


def listen(port: int) -> socket.socket:
    """A listening, non-blocking socket for all guests of this host. Raises OSError if there is no vsock, or no port."""
    flags = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    listener = socket.socket(socket.AF_VSOCK, flags)
    try:
        listener.bind((socket.VMADDR_CID_ANY, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def peer_cid(address: tuple[int, int]) -> int:
    """Who is at the other end of a vsock."""
    return address[0]


class _Guest:
    """A guest that somebody listens to."""

    def __init__(self) -> None:
        self.listeners: list[Hear] = []
        self.open = 0
        self.bucket = Bucket(RATE, BURST)


class Notices:
    """Takes the messages of guests and hands each to those who listen to that guest.

    ``listener`` is what :func:`listen` gives, or such a socket that was kept over a restart of the daemon: then no
    message is lost meanwhile. ``cid`` tells a peer's context id from its address.
    """

    def __init__(self, listener: socket.socket, cid: Callable[[Any], int] = peer_cid) -> None:
        self._listener = listener
        self._cid = cid
        self._guests: dict[int, _Guest] = {}
        self._accepts = Bucket(ACCEPTS, ACCEPTS)
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def listening(self, cid: int, hear: Hear) -> Iterator[None]:
        """Call ``hear`` with the fields of each message of a guest while the context is open. It must not raise.

        Messages of guests that nobody listens to are dropped, so listen before the guest runs.
        """
        guest = self._guests.setdefault(cid, _Guest())
        guest.listeners.append(hear)
        try:
            yield
        finally:
            guest.listeners.remove(hear)
            if not guest.listeners:
                del self._guests[cid]

    async def serve(self) -> None:
        """Take messages until cancelled; then the socket is closed. A socket that breaks costs only the messages."""
        with contextlib.closing(self._listener):
            try:
                async with asyncio.TaskGroup() as tasks:
                    while True:
                        await self._serve_one(tasks)
            except* OSError as broken:
                log.error("no guest can tell that it is ready any more: %s", broken.exceptions[0])

    async def _serve_one(self, tasks: asyncio.TaskGroup) -> None:
        await asyncio.sleep(self._accepts.take(self._loop.time()))
        sock, address = await self._accept()
        guest = self._guests.get(self._cid(address))
        if guest is None or guest.open >= OPEN or not guest.bucket.spend(self._loop.time()):
            sock.close()
        else:
            guest.open += 1
            tasks.create_task(self._take(guest, sock))

    async def _accept(self) -> tuple[socket.socket, Any]:
        while True:
            try:
                return await self._loop.sock_accept(self._listener)
            except ConnectionError:
                continue
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.warning("no guest can tell that it is ready: %s", error.strerror)
                await asyncio.sleep(SHORTAGE)

    async def _take(self, guest: _Guest, sock: socket.socket) -> None:
        """One message. That we hang up is the answer."""
        try:
            with contextlib.closing(sock):
                message = await self._received(sock)
        finally:
            guest.open -= 1
        for hear in tuple(guest.listeners):
            hear(parse(message))

    async def _received(self, sock: socket.socket) -> bytes:
        message = b""
        with contextlib.suppress(TimeoutError, OSError):
            while len(message) < MESSAGE_LIMIT:
                async with asyncio.timeout(LINGER if message else PATIENCE):
                    data = await self._loop.sock_recv(sock, MESSAGE_LIMIT)
                if not data:
                    break
                message += data
        return message[:MESSAGE_LIMIT]


async def ready(notices: Notices, cid: int) -> Passed:
    """Wait until a guest's systemd says that its boot is through."""
    boot = Boot()
    done = asyncio.Event()

    def hear(message: Mapping[str, str]) -> None:
        nonlocal boot
        boot = boot.after(message)
        if boot.ready:
            done.set()

    with notices.listening(cid, hear):
        await done.wait()
    return Passed(f"its systemd says that it is ready{f': {boot.status}' if boot.status else ''}")

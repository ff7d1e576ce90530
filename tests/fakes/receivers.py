"""Those whom alerts go to, for real: an HTTP server, a program in the place of sendmail, a command."""

from __future__ import annotations

import asyncio
import contextlib
import email
import json
import shutil
import ssl
import subprocess
import threading
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE = 60.0


class Request:
    """One request as it came."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class Receiver:
    """A web server that takes messages. ``answers`` are the statuses of the next answers; afterwards it is 204.

    The status 0 hangs up without an answer, and -1 never answers.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[int] = []
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self._over = threading.Event()
        self._loop = asyncio.get_running_loop()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self._server.server_address[1]}/hook?token=hush"

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        taken = Request(handler.path, {key.lower(): value for key, value in handler.headers.items()}, body)
        status = self.answers.pop(0) if self.answers else 204
        self._loop.call_soon_threadsafe(self.requests.put_nowait, taken)
        if status < 0:
            self._over.wait()
        elif status > 0:
            handler.send_response(status)
            handler.end_headers()
            if status >= 300:
                with contextlib.suppress(OSError):
                    handler.wfile.write(b"this is why\nand more\n")
        handler.close_connection = True

    async def next(self) -> Request:
        """The next request that comes, or has come."""
        async with asyncio.timeout(DEADLINE):
            return await self.requests.get()

    def serve(self) -> None:
        """Serve until ``end``, in a thread of its own."""
        self._server.serve_forever(poll_interval=0.01)

    def end(self) -> None:
        """Let nobody hang, and stop listening."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    one = Receiver(tls)
    thread = threading.Thread(target=one.serve)
    thread.start()
    try:
        yield one
    finally:
        await asyncio.to_thread(one.end)
        await asyncio.to_thread(thread.join)


class Mailbox:
    """A program in the place of sendmail, and what it was handed."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "sendmail"
        self._directory = directory
        self.behaves("")

    def behaves(self, script: str) -> None:
        """What it does when it has taken a mail, in the language of the shell; ``$n`` is the mail's number."""
        mails = self._directory / "mails"
        mails.mkdir(exist_ok=True)
        self.program.write_text(
            f'#!/bin/sh\ncd {mails} || exit 1\nn=$(ls | grep -c mail)\ncat >taking\necho "$@" >"args.$n"\n'
            f'mv taking "mail.$n"\n{script}\n'
        )
        self.program.chmod(0o755)

    @property
    def mails(self) -> list[EmailMessage]:
        """The mails so far, read as a mail reader does."""
        files = sorted((self._directory / "mails").glob("mail.*"), key=lambda path: int(path.suffix[1:]))
        return [
            email.message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=default) for path in files
        ]

    @property
    def arguments(self) -> list[str]:
        """How it was called the first time."""
        return (self._directory / "mails/args.0").read_text().split()


def script(path: Path, text: str) -> str:
    """A command of the shell's; returns its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for `localhost`, and the file by which clients come to trust it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes certificates, is not installed")
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert

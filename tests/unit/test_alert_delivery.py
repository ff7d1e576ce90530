"""Messages on their way to real receivers: web servers, scripts, a program in the place of sendmail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qsup.alerts import deliver
from qsup.alerts.deliver import Command, Mail
from qsup.alerts.message import Message
from qsup.alerts.way import DeliveryFailed
from qsup.alerts.webhook import Webhook
from qsup.proc import tool
from qsup.proc.process import ENVIRONMENT
from qsup.spec.base import HostPath
from qsup.threads import Threads
from tests.fakes.receivers import DEADLINE, Mailbox, Receiver, certificate, receiver, script

MESSAGE = Message(
    alert="ops",
    guest="web1",
    cause="qemu-signal",
    phase="backoff",
    detail="Sïgnal 9 ended QEMU; $(reboot) `reboot` \"'",
    decision=None,
    bundle=None,
    at="2026-05-04T10:33:24.236+02:00",
    host="kvm7",
    suppressed=0,
)


@pytest.fixture
async def web() -> AsyncIterator[Receiver]:
    async with receiver() as one:
        yield one


def hook(url: str, deadline: float = DEADLINE, token: Path | None = None) -> Webhook:
    return Webhook(url, HostPath(token) if token else None, deadline, Threads(1, "test"))


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that answers one request with these bytes."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await over.wait()


async def refused(way: Command | Mail | Webhook) -> DeliveryFailed:
    """Send, and return how it failed."""
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(DeliveryFailed) as caught:
            await way.send(MESSAGE)
    return caught.value


# Commands


async def test_a_command_gets_the_message_on_stdin_and_in_an_environment_that_holds_nothing_else(
    tmp_path: Path,
) -> None:
    path = script(
        tmp_path / "page", f'cat >{tmp_path}/stdin; env >{tmp_path}/env; echo "$@" >{tmp_path}/args'
    )
    await Command([path, "a b", "$HOME"], DEADLINE).send(MESSAGE)
    assert json.loads((tmp_path / "stdin").read_bytes()) == json.loads(MESSAGE.json())
    assert (tmp_path / "args").read_text() == "a b $HOME\n"
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    own = {"PWD", "_", "SHLVL", "OLDPWD"}
    assert {key: value for key, value in seen.items() if key not in own} == {
        **ENVIRONMENT,
        **MESSAGE.environment(),
    }


async def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    path = script(tmp_path / "page", 'echo first; printf "no \\033[31mpager\\n" >&2; exit 4')
    failure = await refused(Command([path], DEADLINE))
    assert str(failure) == f"{path}: exit 4; it said: no \\u001b[31mpager"
    assert not failure.again


async def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "held")
    held = asyncio.create_task(asyncio.to_thread((tmp_path / "held").read_text))
    path = script(tmp_path / "page", f"trap '' TERM\nsleep 60 >{tmp_path}/held &\nsleep 60")
    failure = await refused(Command([path], 1.0))
    assert "took longer than 1 s and was killed" in str(failure)
    async with asyncio.timeout(DEADLINE):
        assert await held == "", "nobody is left to write"


async def test_a_command_that_is_not_there_is_told() -> None:
    assert "cannot execute /nonexistent/page: No such file" in str(
        await refused(Command(["/nonexistent/page"], 1.0))
    )


# E-mail


async def test_sendmail_gets_a_mail_with_its_receivers_in_it(tmp_path: Path) -> None:
    box = Mailbox(tmp_path)
    way = Mail(["root", "ops@example.org"], str(box.program), DEADLINE)
    await way.send(MESSAGE)
    await way.send(MESSAGE)
    one, other = box.mails
    assert box.arguments == ["-t", "-i"]
    assert (one["From"], one["To"]) == ("qsup@kvm7", "root, ops@example.org")
    assert one["Subject"] == "[qsup] web1 on kvm7: qemu-signal, backoff"
    assert one["Date"].datetime.isoformat() == "2026-05-04T10:33:24+02:00"
    assert one["Auto-Submitted"] == "auto-generated"
    assert one["Message-ID"] != other["Message-ID"]
    assert one.get_content() == MESSAGE.text


@pytest.mark.parametrize(("status", "again"), [(75, True), (67, False)])
async def test_what_sendmail_may_take_later_is_tried_again(status: int, again: bool, tmp_path: Path) -> None:
    box = Mailbox(tmp_path)
    box.behaves(f"echo unknown user >&2; exit {status}")
    failure = await refused(Mail(["root"], str(box.program), DEADLINE))
    assert str(failure) == f"{box.program}: exit {status}; it said: unknown user"
    assert failure.again == again


async def test_sendmail_is_looked_for_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "ENVIRONMENT", {**ENVIRONMENT, "PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"})
    box = Mailbox(tmp_path)
    await Mail(["root"], None, DEADLINE).send(MESSAGE)
    assert len(box.mails) == 1
    monkeypatch.setattr(deliver, "ENVIRONMENT", {"PATH": "/nonexistent"})
    assert "there is no sendmail in the PATH" in str(await refused(Mail(["root"], None, DEADLINE)))


# Webhooks


async def test_a_webhook_is_a_post_of_json(web: Receiver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    way = hook(web.url, token=token)
    await way.send(MESSAGE)
    taken = await web.next()
    assert taken.path == "/hook?token=hush"
    assert taken.json == json.loads(MESSAGE.json())
    assert taken.headers["content-type"] == "application/json"
    assert taken.headers["user-agent"].startswith("qsup/")
    assert taken.headers["authorization"] == "Bearer s3cret"
    assert "hush" not in way.to


@pytest.mark.parametrize(
    ("status", "again"), [(500, True), (503, True), (429, True), (400, False), (302, False)]
)
async def test_a_refusal_is_told_with_its_reason(web: Receiver, status: int, again: bool) -> None:
    web.answers = [status]
    failure = await refused(hook(web.url))
    assert str(failure).startswith(f"it answered {status} ")
    assert str(failure).endswith("; it said: this is why")
    assert failure.again == again


async def test_a_server_that_never_answers_is_given_up_at_the_deadline(web: Receiver) -> None:
    web.answers = [-1]
    failure = await refused(hook(web.url, 0.3))
    assert (str(failure), failure.again) == ("no answer within 0.3 s", True)


async def test_a_server_that_hangs_up_may_be_better_next_time(web: Receiver) -> None:
    web.answers = [0]
    failure = await refused(hook(web.url))
    assert (str(failure), failure.again) == ("it hung up without an answer", True)


async def test_a_port_without_a_server_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await refused(hook(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert (str(failure), failure.again) == ("Connection refused", True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"220 mail.example.org ESMTP\r\n", "does not speak HTTP"),
        (b"x" * 200_000, "a line without end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 200, "it never comes to an answer"),
        (b"HTTP/1.1 500 \x1b[31m\xff\r\n\r\n", "it answered 500 \\u001b[31m"),
    ],
)
async def test_what_is_no_answer_is_told_and_shown_as_text(answer: bytes, words: str) -> None:
    async with answering(answer) as url:
        failure = await refused(hook(url))
    assert words in str(failure)
    assert str(failure).isprintable()


async def test_interim_answers_are_no_answers() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    async with answering(answer) as url:
        await hook(url).send(MESSAGE)


async def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, trusted = certificate(tmp_path)
    async with receiver(tls) as web:
        failure = await refused(hook(web.url))
        assert str(failure).startswith("its certificate is not good: self")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await hook(web.url).send(MESSAGE)
        assert (await web.next()).json["guest"] == "web1"
        other = web.url.replace("localhost", "127.0.0.1")
        assert "IP address mismatch" in str(await refused(hook(other)))


@pytest.mark.parametrize("held", ["", "a b", "x\ny", "x" * 5000, "\x00"])
async def test_what_is_no_token_is_not_sent(held: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(held)
    assert str(await refused(hook("http://127.0.0.1:1/", token=token))) == f"what {token} holds is no token"
    token.unlink()
    os.mkfifo(token)
    assert str(await refused(hook("http://127.0.0.1:1/", token=token))) == f"what {token} holds is no token"
    token.unlink()
    assert "its token cannot be read: " in str(await refused(hook("http://127.0.0.1:1/", token=token)))


async def test_a_name_service_that_hangs_holds_no_more_than_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, over = threading.Semaphore(0), threading.Event()

    def hangs(*_: object, **__: object) -> list[object]:
        asked.release()
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    way = hook("http://hooks.example.org/", 0.3)
    assert str(await refused(way)) == "no answer within 0.3 s"
    assert str(await refused(way)) == "too many others wait for the name service already"
    assert asked.acquire(blocking=False)
    assert not asked.acquire(blocking=False)
    over.set()


async def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    failure = await refused(hook("http://hooks.example.org/"))
    assert (str(failure), failure.again) == ("Name or service not known", True)

"""What is asked of a real QEMU for its black box: its screen, and the conversation with it."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

from qsup import endpoint
from qsup.argv.facts import HostFacts
from qsup.blackbox.rings import Messages
from qsup.blackbox.screenshot import screenshot
from qsup.errors import QmpUnanswered
from qsup.probe.prober import Prober
from qsup.qmp.session import QmpSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


@contextlib.asynccontextmanager
async def running(
    binary: str, run_dir: Path, *options: str, messages: Messages | None = None
) -> AsyncIterator[tuple[QmpSession, subprocess.Popen[bytes]]]:
    """A QEMU whose machine stands still before its first instruction, and a session with it."""
    with endpoint.listen(run_dir, "qmp.sock") as listener:
        sock = await endpoint.connect(run_dir, "qmp.sock")
        fixed = ["-nodefaults", "-no-user-config", "-display", "none", "-S", "-accel", "tcg", "-m", "32"]
        qmp = [
            "-chardev",
            f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
        ]
        process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
            [binary, *fixed, *qmp, *options], stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()]
        )
    with process:
        try:
            session = await QmpSession.connect(
                sock, on_event=lambda _: None, on_lost=lambda _: None, observer=messages, deadline=30
            )
            yield session, process
            await session.close()
        finally:
            process.kill()


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height of a whole PNG, its checksums right."""
    at, chunks = 8, []
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 4 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(body)
        chunks.append(kind)
        at += 12 + length
    assert (chunks[0], chunks[-1]) == (b"IHDR", b"IEND")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def test_the_screen_of_a_guest_that_stands_still_is_a_png(each_qemu: str, tmp_path: Path) -> None:
    async with running(each_qemu, tmp_path, "-device", "VGA") as (session, _):
        before = set(os.listdir(tmp_path))
        picture = await screenshot(session, tmp_path, Prober(None, "boot").facts(each_qemu))
        assert set(os.listdir(tmp_path)) == before, "nothing is left in the run directory"
    assert picture is not None
    width, height = size_of(picture)
    assert width >= 320
    assert height >= 200


async def test_a_guest_without_a_screen_has_no_picture(qemu_binary: str, tmp_path: Path) -> None:
    async with running(qemu_binary, tmp_path) as (session, _):
        assert await screenshot(session, tmp_path) is None


async def test_a_qemu_that_cannot_is_not_asked(qemu_binary: str, tmp_path: Path) -> None:
    messages = Messages()
    facts = HostFacts(qemu_binary, kvm=False, members={"ImageFormat": frozenset({"ppm"})})
    async with running(qemu_binary, tmp_path, "-device", "VGA", messages=messages) as (session, _):
        assert await screenshot(session, tmp_path, facts) is None
    assert not any(b"screendump" in message.text for message in messages.remembered())


async def test_a_qemu_that_does_not_answer_has_no_picture(
    qemu_binary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def execute(*_: object, **__: object) -> None:
        raise QmpUnanswered("planted")

    async with running(qemu_binary, tmp_path, "-device", "VGA") as (session, _):
        monkeypatch.setattr(session, "execute", execute)
        assert await screenshot(session, tmp_path) is None


async def test_polls_of_a_real_qemu_are_counted_and_its_events_are_told_from_each_other(
    each_qemu: str, tmp_path: Path
) -> None:
    messages = Messages()
    async with running(each_qemu, tmp_path, messages=messages) as (session, _):
        for _ in range(50):
            await session.execute("query-status")
        for _ in range(20):
            await session.execute("cont")
            await session.execute("stop")
        with contextlib.suppress(Exception):
            await session.execute("no-such-command")
    kept = messages.remembered()
    times = {message.text[:60]: message.times for message in kept if b"query-status" in message.text}
    assert list(times.values()) == [50]
    assert [message.times for message in kept if b'"RESUME"' in message.text] == [20]
    assert len(kept) < 20
    assert b"CommandNotFound" in kept[-1].text

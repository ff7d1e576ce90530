"""What is asked of a real QEMU for its black box, and what a real daemon does with what lies on its shelf."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import signal
import struct
import subprocess
import tarfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from qsup import endpoint
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import MADE
from qsup.blackbox.core import Pattern, locate
from qsup.blackbox.figures import figures
from qsup.blackbox.rings import Messages, Rings
from qsup.blackbox.screenshot import screenshot
from qsup.blackbox.shelf import Shelf
from qsup.errors import QmpUnanswered
from qsup.probe.prober import Prober
from qsup.proc.identity import command_line
from qsup.qmp.session import QmpSession
from qsup.spec.tables.keeping import Crashes
from qsup.status import ExitStatus
from tests.fakes.crashes import AT, crash
from tests.functional.harness import Site, killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@contextlib.asynccontextmanager
async def running(
    binary: str, run_dir: Path, *options: str, messages: Messages | None = None
) -> AsyncIterator[tuple[QmpSession, subprocess.Popen[bytes]]]:
    """A QEMU whose machine stands still before its first instruction, and a session with it."""
    (run_dir / MADE).mkdir()
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
            [binary, *fixed, *qmp, *options],
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            cwd=run_dir,
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
        before = set(tmp_path.rglob("*"))
        picture = await screenshot(session, tmp_path, Prober(None, "boot").facts(each_qemu))
        assert set(tmp_path.rglob("*")) == before, "nothing is left in the run directory"
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


async def test_a_real_qemu_that_crashes_leaves_all_that_was_seen_of_it(
    qemu_binary: str, tmp_path: Path
) -> None:
    rings, began = Rings(), time.time()
    async with running(qemu_binary, tmp_path, "-device", "VGA", messages=rings.messages) as (
        session,
        process,
    ):
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (1 << 20, 1 << 20))
        await session.execute("cont")
        argv = tuple(command_line(process.pid))
        measured = await figures(process.pid, [qemu_binary])
        screen = await screenshot(session, tmp_path)
        await killed(process.pid, signal.SIGSEGV)
        status = ExitStatus("signal", -process.wait())
        core = locate(
            status, process.pid, binary=qemu_binary, since=began, limit=1 << 20, directory=str(tmp_path)
        )
    shelf = Shelf(tmp_path / "crashes", Crashes())
    kept = await shelf.write(
        crash(
            at=began, status=status, argv=argv, remembered=rings.remembered(),
            figures=measured, screen=screen, core=core,
        )
    )  # fmt: skip
    assert kept is not None
    text = await shelf.summary(kept.id)
    assert "signal 11 (SIGSEGV)" in text
    assert '"screendump"' in text
    assert "## Core dump" in text
    assert f"room for {qemu_binary}" in text
    assert core is not None
    if not Pattern.of_host().text.startswith(("|", "/", "@")):
        assert core.path is not None
        assert Path(core.path).parent == tmp_path
    directory = shelf.directory / kept.id
    assert shlex.split((directory / "argv.txt").read_text().replace("\\\n", " ")) == list(argv)
    assert json.loads((directory / "figures.json").read_text())["process"]["status"]["Pid"] == str(
        process.pid
    )
    assert size_of((directory / "screen.png").read_bytes())[0] >= 320


async def test_the_real_daemon_shows_and_exports_what_lies_on_its_shelf(empty: Site) -> None:
    shelf = Shelf(empty.state / "crashes", Crashes())
    empty.state.mkdir()
    old, new = [await shelf.write(crash(at=AT + number)) for number in range(2)]
    assert old is not None
    assert new is not None
    await empty.start()
    listed = await empty.cli("crashes", "--json")
    assert [one["id"] for one in json.loads(listed[1])] == [new.id, old.id]
    status, out, err = await empty.cli("crash", "show", "web1")
    assert (status, err) == (0, "")
    assert out.startswith("# web1: qemu-signal\n")
    archive = empty.root / "web1.tar.gz"
    assert (await empty.cli("crash", "export", old.id, "-o", str(archive)))[0] == 0
    with tarfile.open(archive) as tar:
        assert {Path(name).name for name in tar.getnames()} == set(os.listdir(shelf.directory / old.id))


async def test_the_real_daemon_keeps_to_its_limits_as_it_starts_and_as_they_are_edited(empty: Site) -> None:
    shelf = Shelf(empty.state / "crashes", Crashes())
    empty.state.mkdir()
    first, second, third = [await shelf.write(crash(at=AT + number)) for number in range(3)]
    assert first is not None
    assert second is not None
    assert third is not None
    (shelf.directory / f".new-{first.id}").mkdir()
    config = empty.config / "qsup.toml"
    before = config.read_text()
    config.write_text(f"{before}[crashes]\nper-guest = 2\n")
    await empty.start()
    assert first.id in await empty.said("removed to make room")
    config.write_text(f"{before}[crashes]\nper-guest = 1\n")
    await empty.said(f"removed to make room: {second.id}")
    assert os.listdir(shelf.directory) == [third.id]

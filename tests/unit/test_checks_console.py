"""Waiting for a text on a guest's console, and for any sign of life there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from qsup.checks.console import beats, printed
from qsup.checks.verdict import Failed, Passed, Unable
from qsup.proc.console import Console
from qsup.proc.rotated import RotatedLog
from tests.unit.test_console import connected, prints, say


async def test_a_text_that_is_printed_is_heard_across_its_pieces(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    waiting = asyncio.ensure_future(printed(console, "web1 login:"))
    await prints(console, guest, b"web1 lo")
    assert not waiting.done()
    await say(guest, b"gin: ")
    assert await waiting == Passed('web1/console has printed "web1 login:"')
    await console.close()
    guest.close()


async def test_a_text_that_was_printed_before_counts_and_one_of_an_earlier_run_does_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "log").write_bytes(b"web1 login: ")
    console = Console("web1/console", RotatedLog(tmp_path / "log", 1000))
    guest = await connected(console, tmp_path)
    waiting = asyncio.ensure_future(printed(console, "login:"))
    await prints(console, guest, b"booting, lo")
    assert not waiting.done()
    waiting.cancel()
    # Begun before the listener came, ended after it.
    waiting = asyncio.ensure_future(printed(console, "login:"))
    await say(guest, b"gin: ")
    assert isinstance(await waiting, Passed)
    assert isinstance(await printed(console, "login:"), Passed)
    await console.close()
    guest.close()


async def test_nobody_listens_any_more_after_a_wait_that_was_cancelled(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    waiting = asyncio.ensure_future(printed(console, "login:"))
    await asyncio.sleep(0)
    assert console._listeners
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not console._listeners
    await console.close()


async def test_output_within_the_interval_passes(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    await prints(console, guest, b"beat")
    assert await beats(console, 60, 0) == Passed("web1/console printed something 0.0 s ago")
    await console.close()
    guest.close()


async def test_output_that_comes_by_the_deadline_passes_and_silence_fails(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    guest = await connected(console, tmp_path)
    assert await beats(console, 30, 0.01) == Failed("web1/console has been silent for 30 s")
    waiting = asyncio.ensure_future(beats(console, 30, 60))
    await asyncio.sleep(0)
    await say(guest, b"beat")
    assert await waiting == Passed("web1/console prints")
    assert await beats(console, 0, 0.01) == Failed("web1/console has been silent for 0 s")
    await console.close()
    guest.close()


async def test_a_port_that_is_not_connected_says_nothing(tmp_path: Path) -> None:
    console = Console("web1/console", None)
    assert await beats(console, 30, 5) == Unable("web1/console is not connected")
    await console.close()

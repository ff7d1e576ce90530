"""Short commands: real scripts, that write much, hang, leave children behind and are given something to read."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from qsup.errors import LaunchError
from qsup.proc import tool
from qsup.proc.process import ENVIRONMENT
from qsup.proc.tool import run

DEADLINE = 60.0


def script(directory: Path, text: str) -> str:
    path = directory / "tool"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_a_chatty_tool_is_quoted_from_its_end(tmp_path: Path) -> None:
    status, said = await run([script(tmp_path, "head -c 100000 /dev/zero | tr '\\0' x\necho end")], DEADLINE)
    assert str(status) == "exit 0"
    assert said.endswith("xend")
    assert len(said) < 5000


async def test_a_tool_that_cannot_be_executed_says_so() -> None:
    with pytest.raises(LaunchError, match="cannot execute /nonexistent/tool: No such file"):
        await run(["/nonexistent/tool"], 1.0)


async def test_a_tool_reads_what_it_is_given_and_sees_the_environment_that_it_gets(tmp_path: Path) -> None:
    given = b"x" * 300_000
    status, said = await run(
        [script(tmp_path, 'wc -c; echo "$WHAT"; echo told >/dev/stderr; exit 3')], DEADLINE,
        given=given, environment={**ENVIRONMENT, "WHAT": "this"},
    )  # fmt: skip
    assert (str(status), said.split()) == ("exit 3", ["300000", "this", "told"])


async def test_a_tool_that_is_told_to_end_has_time_to(tmp_path: Path) -> None:
    text = f"trap 'echo told >>{tmp_path}/left; exit' TERM; sleep 60 & wait"
    with pytest.raises(LaunchError, match=r"took longer than 1 s and was killed"):
        await run([script(tmp_path, text)], 1.0)
    assert (tmp_path / "left").read_text() == "told\n"


async def test_a_tool_that_is_deaf_is_killed_with_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "held")
    held = asyncio.create_task(asyncio.to_thread((tmp_path / "held").read_text))
    with pytest.raises(LaunchError, match="was killed"):
        await run([script(tmp_path, f"trap '' TERM\nsleep 60 >{tmp_path}/held &\nsleep 60")], 1.0)
    async with asyncio.timeout(DEADLINE):
        assert await held == "", "nobody is left to write"


async def test_a_flood_comes_to_a_halt_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "FLOOD", 1 << 18)
    text = f"while head -c 65536 /dev/zero; do echo; echo x >>{tmp_path}/written; done"
    with pytest.raises(LaunchError, match="was killed"):
        await run([script(tmp_path, text)], 1.0)
    # What the pipe itself holds comes on top.
    assert 4 <= len((tmp_path / "written").read_text().split()) <= 6


async def test_a_tool_is_not_waited_for_once_it_has_ended_though_its_children_live(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    text = f"(read _ <{tmp_path}/go; echo late) & echo first"
    status, said = await run([script(tmp_path, text)], DEADLINE)
    assert (str(status), said) == ("exit 0", "first")
    await asyncio.to_thread((tmp_path / "go").write_text, "\n")

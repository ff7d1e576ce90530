"""Who may do what, asked of a real daemon by processes of other users."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.functional.harness import IDLE, Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

ALICE, BOB, WEB = 61001, 61002, 62001
ACCESS = f"""
[[access]]
group = "{WEB}"
role = "operate"
guests = ["web*"]
[[access]]
user = "{BOB}"
"""
CLI = """
import importlib, os, pkgutil, sys
import qsup.cli
for module in pkgutil.iter_modules(qsup.cli.__path__, "qsup.cli."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
uid, groups = int(sys.argv.pop(1)), list(map(int, filter(None, sys.argv.pop(1).split(","))))
os.setgroups(groups); os.setgid(uid); os.setuid(uid)
raise SystemExit(qsup.cli.main())
"""
"""The command, which becomes somebody else once all is loaded: others need not be able to read where it lies."""


async def client(here: Site, uid: int, groups: list[int], *words: str) -> asyncio.subprocess.Process:
    """The command, used by somebody else."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLI, str(uid), ",".join(map(str, groups)), *words,
        env={**os.environ, "QSUP_SOCKET": str(here.socket)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def as_user(here: Site, uid: int, groups: list[int], *words: str) -> tuple[int, str]:
    """Use the command as somebody else; its exit code and all that it prints."""
    process = await client(here, uid, groups, *words)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest.fixture
async def two(empty: Site, tmp_path: Path) -> Site:
    """A daemon with two guests, whose socket others can get to."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and directory != Path("/") and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    with (empty.config / "qsup.toml").open("a") as file:
        file.write(ACCESS)
    for name in ("web1", "db1"):
        empty.guest(name, IDLE)
    await empty.start()
    return empty


async def test_everybody_may_do_what_is_granted_and_no_more(two: Site) -> None:
    status, out = await as_user(two, ALICE, [WEB], "start", "web1")
    assert (status, out.startswith("web1: running")) == (0, True)
    status, out = await as_user(two, ALICE, [WEB], "list")
    assert (status, "web1" in out, "db1" in out) == (0, True, False)
    status, out = await as_user(two, ALICE, [WEB], "start", "db1")
    assert (status, "there is no guest" in out) == (3, True)
    status, out = await as_user(two, ALICE, [WEB], "stop", "--budget", "60s", "--plan", "db1")
    assert (status, "there is no guest" in out, "NEEDS" in out) == (3, True, False)
    status, out = await as_user(two, ALICE, [WEB], "qmp", "web1", "query-status")
    assert status == 5
    assert "that takes the right raw-qmp" in out
    status, out = await as_user(two, ALICE, [WEB], "reload")
    assert (status, "that takes the role administer" in out) == (5, True)

    status, out = await as_user(two, BOB, [], "list")
    assert (status, "web1" in out, "db1" in out) == (0, True, True)
    status, out = await as_user(two, BOB, [], "stop", "web1")
    assert (status, "that takes the role operate" in out) == (5, True)
    assert (await two.view("web1"))["phase"] == "running"
    status, out = await as_user(two, BOB, [], "whoami")
    assert status == 0
    assert out.startswith(f"uid {BOB}\n")

    status, out = await as_user(two, ALICE, [], "list")
    assert status in (4, 5), out
    assert await two.said(f"guest-start, given by uid {ALICE}")
    assert await two.said(f"uid {BOB}")


async def test_an_edit_holds_from_the_next_reload_on_for_whoever_is_connected(two: Site) -> None:
    events = await client(two, BOB, [], "events", "--follow", "--since", "1h", "--json")
    assert events.stdout is not None
    await two.run("guest-start", name="db1")
    seen: dict[str, Any] = {}
    async with asyncio.timeout(10):
        while seen.get("data", {}).get("phase") != "running":
            seen = json.loads(await events.stdout.readline())
    text = (two.config / "qsup.toml").read_text()
    (two.config / "qsup.toml").write_text(
        text.replace(f'user = "{BOB}"', f'user = "{BOB}"\nguests = ["web1"]')
    )
    await two.run("reload-config")
    await two.run("guest-stop", name="db1")
    await two.run("guest-start", name="web1")
    names = set()
    async with asyncio.timeout(10):
        while "web1" not in names:
            line = json.loads(await events.stdout.readline())
            names.add(line["data"].get("name") if line["event"] == "GUEST_PHASE" else None)
            assert (line["event"], line["data"].get("name"), line["data"].get("phase")) != (
                "GUEST_PHASE", "db1", "stopped",
            )  # fmt: skip
    events.terminate()
    await events.wait()

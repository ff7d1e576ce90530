"""The configuration is edited while guests run: what is new is taken, what is broken is told, what runs runs on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from qemu.qmp import QMPClient

from tests.functional.harness import DEADLINE, IDLE, Site, alive

LARGER = IDLE.replace("16 MiB", "32 MiB")
BROKEN = IDLE + "[memroy]\nsize = 1\n"
CHANGE = "memory.size: 16 MiB → 32 MiB"


class Edited:
    """A site with the running guest ``idle``, whose daemon learns of edits in one way only."""

    def __init__(self, here: Site, way: str) -> None:
        self.here = here
        self.way = way

    async def edit(self, change: Callable[[], object]) -> dict[str, Any]:
        """Make a change, let the daemon learn of it, and return what it found."""
        client: QMPClient = await self.here.connect()
        with client.listener(("CONFIG_RELOADED",)) as reloads:
            change()
            if self.way == "SIGHUP":
                assert self.here.process is not None
                self.here.process.send_signal(signal.SIGHUP)
            elif self.way == "qsup reload":
                await self.here.cli("reload")
            async with asyncio.timeout(DEADLINE):
                found = (await reloads.get())["data"]
        await client.disconnect()
        assert isinstance(found, dict)
        return found


@pytest.fixture(params=["SIGHUP", "qsup reload", "inotify"])
async def edited(request: pytest.FixtureRequest, empty: Site) -> AsyncIterator[Edited]:
    file = empty.config / "qsup.toml"
    file.write_text(file.read_text() + f"watch = {str(request.param == 'inotify').lower()}\n")
    empty.guest("idle", IDLE)
    await empty.start()
    await empty.run("guest-start", name="idle")
    yield Edited(empty, request.param)
    assert "Traceback" not in empty.log


async def test_an_edit_is_taken_and_disturbs_nobody(edited: Edited) -> None:
    here = edited.here
    pid = (await here.view("idle"))["pid"]

    found = await edited.edit(lambda: here.guest("new", IDLE))
    assert (found["added"], found["changed"], found["problems"]) == (["new"], [], [])
    assert (await here.view("new"))["phase"] == "stopped"

    found = await edited.edit(lambda: here.guest("idle", BROKEN))
    assert (found["changed"], found["removed"]) == ([], [])
    (problem,) = found["problems"]
    assert "guests/idle.toml:8: memroy: " in problem
    assert 'did you mean "memory"?' in problem
    view = await here.view("idle")
    assert (view["pid"], view["phase"], view["problems"]) == (pid, "running", [problem])
    assert (view["orphaned"], view["changes"]) == (False, [])

    found = await edited.edit(lambda: here.guest("idle", LARGER))
    assert (found["changed"], found["problems"]) == (["idle"], [])
    view = await here.view("idle")
    assert (view["pid"], view["changes"], view["problems"]) == (pid, [CHANGE], [])
    assert alive(pid)

    found = await edited.edit((here.config / "guests/new.toml").unlink)
    assert found["removed"] == ["new"]
    assert [guest["name"] for guest in await here.run("query-guests")] == ["idle"]
    await here.run("guest-restart", name="idle")
    view = await here.view("idle")
    assert (view["changes"], view["pid"] == pid) == ([], False)


async def test_the_cli_tells_what_a_reload_found_and_what_needs_a_restart(empty: Site) -> None:
    file = empty.config / "qsup.toml"
    file.write_text(file.read_text() + "watch = false\n")
    empty.guest("idle", IDLE)
    await empty.start()
    await empty.run("guest-start", name="idle")
    assert await empty.cli("reload") == (0, "nothing changed\n", "")
    empty.guest("idle", LARGER)
    empty.guest("another", IDLE)
    assert await empty.cli("reload") == (0, "added: another\nchanged: idle\n", "")
    _, out, _ = await empty.cli("status", "idle")
    assert f"To change:  {CHANGE} (restart needed)" in out
    assert CHANGE in (await empty.cli("why", "idle"))[1]
    empty.guest("another", BROKEN)
    status, out, err = await empty.cli("reload")
    assert (status, out) == (1, "nothing changed\n")
    assert "another.toml:8: memroy: " in err
    status, out, _ = await empty.cli("status", "another")
    assert "Problem:" in out
    assert "another.toml:8: memroy: " in out
    status, out, err = await empty.cli("check", "--config", str(empty.config))
    assert (status, err) == (1, "")
    assert "another.toml:8: memroy: " in out


async def test_keys_that_qemu_does_not_read_act_at_once(empty: Site) -> None:
    """``stop`` and ``restart``: the very process that was started before the edit is ended by the new rules."""
    empty.guest("idle", IDLE.replace("methods = []", 'methods = ["acpi"]\ntimeout = "1 h"'))
    await empty.start()
    await empty.run("guest-start", name="idle")
    pid = (await empty.view("idle"))["pid"]
    never = IDLE + '[restart]\npolicy = "never"\n'
    empty.guest("idle", never)
    await empty.run("reload-config")
    view = await empty.view("idle")
    assert (view["changes"], view["pid"]) == ([], pid), "nothing waits for a restart"
    await empty.run("guest-qmp", name="idle", command="quit")
    view = await empty.phase("idle", "stopped")
    assert (view["restarts"], view["wanted"]) == (0, "running")
    assert view["last-end"]["decision"] == 'restart.policy = "never": stay off'
    await empty.run("guest-start", name="idle")
    assert "stopped by quit" in (await empty.run("guest-stop", name="idle"))["message"]


async def test_a_profile_that_breaks_and_is_mended_costs_no_guest_of_it_anything(empty: Site) -> None:
    profiles = empty.config / "profiles"
    profiles.mkdir()
    (profiles / "small.toml").write_text(IDLE)
    for name in ("one", "two"):
        empty.guest(name, 'profile = ["small"]\n')
    await empty.start()
    await empty.run("guest-start", names=["*"])
    pids = [guest["pid"] for guest in await empty.run("query-guests")]
    (profiles / "small.toml").write_text("[memory\n")
    assert any("small.toml:1" in problem for problem in (await empty.run("reload-config"))["problems"])
    guests = await empty.run("query-guests")
    assert [(guest["pid"], guest["phase"]) for guest in guests] == [(pid, "running") for pid in pids]
    assert all(guest["problems"] and not guest["orphaned"] for guest in guests)
    (profiles / "small.toml").write_text(LARGER)
    await empty.run("reload-config")
    assert [guest["changes"] for guest in await empty.run("query-guests")] == [[CHANGE], [CHANGE]]


async def test_a_broken_daemon_file_keeps_what_it_said_before(empty: Site, qemu_binary: str) -> None:
    link = empty.root / "qemu"
    link.symlink_to(qemu_binary)
    (empty.config / "qsup.toml").write_text(f'qemu-binary = "{link}"\n')
    empty.guest("idle", IDLE)
    await empty.start()
    (empty.config / "qsup.toml").write_text("parallel-starts = 0\n")
    (problem,) = (await empty.run("reload-config"))["problems"]
    assert "qsup.toml:1: parallel-starts: " in problem
    assert (await empty.run("guest-argv", name="idle"))["binary"] == str(link)
    await empty.run("guest-start", name="idle")


async def test_what_the_command_has_written_holds_for_the_next_command(empty: Site) -> None:
    await empty.start()
    new = (
        "new",
        "made",
        "--set",
        "machine.accel=tcg",
        "--set",
        "memory.size=16 MiB",
        "--set",
        "stop.methods=[]",
    )
    assert (await empty.cli(*new))[0] == 0
    assert (await empty.cli("start", "made"))[0] == 0
    assert (await empty.cli("set", "made", "memory.size=32 MiB"))[0] == 0
    assert (await empty.cli("restart", "made"))[0] == 0
    _, out, _ = await empty.cli("status", "made")
    assert "32 MiB" in out


async def test_without_a_watch_what_the_command_has_written_waits_for_a_reload(empty: Site) -> None:
    file = empty.config / "qsup.toml"
    file.write_text(file.read_text() + "watch = false\n")
    await empty.start()
    assert (await empty.cli("new", "made"))[0] == 0
    assert (await empty.cli("status", "made"))[0] == 3
    assert (await empty.cli("reload"))[0] == 0
    assert (await empty.cli("status", "made"))[0] == 0

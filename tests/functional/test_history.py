"""What happened to guests on a real QEMU is kept, across the deaths of QEMUs and daemons."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import Any

import pytest

from tests.functional.harness import IDLE, Site, killed

RESTART = '\n[restart]\ndelay = "0 s"\n'


async def history(here: Site, name: str, *words: str) -> Any:
    """What ``qsup history --json`` tells."""
    code, out, err = await here.cli("history", name, "--json", "--lines", "1000", *words)
    assert (code, err) == (0, "")
    return json.loads(out)


def kinds(told: Any) -> list[str]:
    return [event["event"] for event in told["events"]]


async def oldest(here: Site, name: str) -> float:
    """When the oldest event was that is kept of a guest."""
    return float((await history(here, name))["events"][0]["timestamp"]["seconds"])


@pytest.fixture
async def idle(empty: Site) -> Site:
    """A site whose daemon runs the guest ``idle``."""
    empty.guest("idle", IDLE + RESTART)
    await empty.start()
    await empty.run("guest-start", name="idle")
    return empty


async def fails(here: Site, name: str, times: int) -> None:
    """Kill the guest's QEMU and wait for the next one."""
    await killed((await here.view(name))["pid"])
    await here.until(name, lambda view: view["restarts"] == times and view["phase"] == "running")


async def test_a_killed_qemu_is_a_failure_that_is_counted_and_told(idle: Site) -> None:
    await fails(idle, "idle", 1)
    told = await history(idle, "idle")
    figures = told["figures"]
    assert (figures["failures"], figures["runs"]) == ({"qemu-signal": 1}, 2)
    assert 0 < figures["to-recover"] < figures["between-failures"] + 60
    assert 0 < figures["availability"] < 100
    assert figures["unwatched"] == 0
    assert kinds(told)[0] == "GUEST_FOUND"
    assert {"GUEST_PHASE", "GUEST_ENDED", "GUEST_READY"} <= {*kinds(told)}
    code, out, err = await idle.cli("history", "idle")
    assert (code, err) == (0, "")
    assert out.startswith("idle: available ")
    assert "1 (qemu-signal 1)" in out
    assert any(line.endswith("running (was starting): its vCPUs run") for line in out.splitlines())


async def test_kill_9_of_the_daemon_loses_no_event_and_an_adopted_guest_was_up_meanwhile(idle: Site) -> None:
    await fails(idle, "idle", 1)
    before = await history(idle, "idle")
    await idle.kill()
    await idle.start()
    told = await history(idle, "idle")
    assert told["events"][: len(before["events"])] == before["events"]
    figures = told["figures"]
    assert (figures["failures"], figures["runs"], figures["unwatched"]) == ({"qemu-signal": 1}, 2, 0)
    assert figures["up"] > before["figures"]["up"]
    assert figures["down"] == pytest.approx(before["figures"]["down"], abs=0.002)
    assert [watch["orderly"] for watch in told["watches"]] == [False, False]
    await fails(idle, "idle", 2)
    # Of one that is not its child a daemon may not learn how it ended.
    assert sum((await history(idle, "idle"))["figures"]["failures"].values()) == 2


async def test_a_guest_that_ended_while_nobody_watched_is_not_said_to_have_been_up(idle: Site) -> None:
    pid = (await idle.view("idle"))["pid"]
    assert await idle.leave() == 0
    await killed(pid)
    await idle.start()
    await idle.phase("idle", "running")
    told = await history(idle, "idle")
    assert told["figures"]["unwatched"] > 0
    assert sum(told["figures"]["failures"].values()) == 1
    assert [watch["orderly"] for watch in told["watches"]] == [True, False]
    _, out, _ = await idle.cli("history", "idle")
    assert "the daemon left" in out
    assert "with no daemon to see it" in out


async def test_a_history_outlives_its_guest_and_a_guest_without_one_is_known(idle: Site) -> None:
    idle.guest("other", IDLE)
    await idle.run("reload-config")
    assert kinds(await history(idle, "other")) == ["GUEST_SPEC"]
    await idle.run("guest-kill", name="idle")
    (idle.config / "guests/idle.toml").unlink()
    await idle.run("reload-config")
    told = await history(idle, "idle")
    assert told["events"][-1]["data"]["change"] == "forgotten"
    assert told["figures"]["off"] > 0
    assert (await idle.cli("history", "nobody"))[0] == 3


async def test_a_damaged_history_costs_no_guest_anything_and_is_told(idle: Site) -> None:
    pid = (await idle.view("idle"))["pid"]
    await idle.kill()
    path = idle.state / "history.db"
    path.write_bytes(b"damage" * 1000)
    await idle.start()
    await idle.said("it is kept as history.db.unreadable-1, and a new one begins")
    assert (await idle.view("idle"))["pid"] == pid
    told = await history(idle, "idle")
    assert told["figures"]["up"] > 0
    assert path.with_name("history.db.unreadable-1").exists()


async def test_a_mistake_in_qsup_toml_removes_nothing_from_the_history(idle: Site) -> None:
    good = (idle.config / "qsup.toml").read_text()
    await idle.leave()
    with contextlib.closing(sqlite3.connect(idle.state / "history.db", isolation_level=None)) as connection:
        connection.execute("UPDATE events SET wall = wall - 500 * 86400 WHERE id = 1")
    (idle.config / "qsup.toml").write_text('[history]\nkeep = "1000 days"\n')
    await idle.start()
    assert (await idle.run("check-config"))["problems"]
    assert await oldest(idle, "idle") < time.time() - 400 * 86400
    await idle.leave()
    (idle.config / "qsup.toml").write_text(good)
    await idle.start()
    assert await oldest(idle, "idle") > time.time() - 86400

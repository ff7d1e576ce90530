"""The stop of all guests within one time: real QEMUs whose guests do not care, in a chain and beside each other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from tests.functional.harness import IDLE, Site

STUBBORN = IDLE.replace("methods = []", 'methods = ["acpi"]\ntimeout = "60 s"')
"""Nothing in it hears of a power button."""


def declare(here: Site) -> None:
    """A chain of two that do not care, and beside it one that goes at once."""
    here.guest("db", STUBBORN)
    here.guest("web", f'after = ["db"]\n{STUBBORN}')
    here.guest("quick", IDLE)


async def test_nobody_outlives_it_and_the_last_word_names_who_was_cut_short(empty: Site) -> None:
    declare(empty)
    await empty.start()
    assert (await empty.cli("start", "--all"))[0] == 0
    status, out, _ = await empty.cli("stop", "--all", "--budget", "6s", "--plan", "--json")
    plan = json.loads(out)
    assert (status, plan["enough"], plan["needed"]) == (1, False, 140.3)
    shares = {row["name"]: (row["need"], row["share"], row["latest"]) for row in plan["guests"]}
    assert shares == {"web": (70, 2.85, 2.85), "db": (70, 2.85, 5.7), "quick": (10, 5.7, 5.7)}
    status, out, errors = await empty.cli("stop", "--all", "--budget", "6s", "--plan")
    assert status == 1
    assert "6 s are too short" in errors
    assert errors.endswith("if they take it: web, db, quick\n")

    began = time.monotonic()
    status, out, errors = await empty.cli("stop", "--all", "--budget", "6s")
    took = time.monotonic() - began
    assert (status, errors) == (0, "qsup: cut short, for want of time: db, web\n")
    assert 4.0 < took < 6.0
    assert out.splitlines()[1].startswith("quick: stopped by quit")
    assert "web: stopped by quit after 2." in out
    # QEMU obeys at once, so that what web had left of its share is db's.
    assert "cut short: it had 2." in out
    assert "cut short: it had 3." in out
    assert "6 s to stop all guests, which may take 140.3 s by their files" in empty.log
    assert "the stop of all guests took" in empty.log
    assert "cut short: db, web" in empty.log
    for name in ("db", "web", "quick"):
        facts = await empty.view(name)
        assert (facts["phase"], facts["wanted"], facts["cause"]) == ("stopped", "running", "operator")

    status, out, _ = await empty.cli("stop", "--all", "--budget", "6s")
    assert (status, out) == (0, "".join(f"{name}: stopped already\n" for name in ("db", "quick", "web")))


async def test_a_qemu_that_hears_nothing_is_killed_in_time(empty: Site) -> None:
    declare(empty)
    await empty.start()
    assert (await empty.cli("start", "db"))[0] == 0
    os.kill((await empty.view("db"))["pid"], signal.SIGSTOP)
    began = time.monotonic()
    _, out, errors = await empty.cli("stop", "--all", "--budget", "3s")
    assert time.monotonic() - began < 3.0
    assert "db: stopped by SIGKILL" in out
    assert errors == "qsup: cut short, for want of time: db\n"


async def test_what_was_stopped_so_is_started_again_in_order_and_nothing_else(empty: Site) -> None:
    declare(empty)
    await empty.start()
    await empty.run("guest-start", name="db")
    await empty.run("guest-start", name="web")
    assert (await empty.cli("stop", "--all", "--budget", "2s"))[0] == 0
    # A new daemon starts none of them by itself: the host was not away.
    await empty.leave()
    await empty.start()
    assert {name: (await empty.view(name))["phase"] for name in ("db", "web", "quick")} == dict.fromkeys(
        ("db", "web", "quick"), "stopped"
    )
    status, out, _ = await empty.cli("start", "--all", "--due")
    assert status == 0
    assert "quick: stopped already" in out
    assert "web: running" in out
    course = [
        (event["data"]["name"], event["data"]["phase"])
        for event in (await empty.run("query-events"))["events"]
        if event["event"] == "GUEST_PHASE"
    ]
    assert course == [(name, phase) for name in ("db", "web") for phase in ("starting", "running")]


async def test_guests_that_still_wait_for_their_turn_are_not_started_any_more(empty: Site) -> None:
    empty.guest("first", f'autostart = true\n{STUBBORN}[ready]\ncheck = "delay"\ndelay = "4 min"\n')
    empty.guest("second", f'autostart = true\nafter = ["first"]\n{IDLE}')
    await empty.start()
    await empty.phase("first", "running")
    async with asyncio.timeout(30):
        status, out, _ = await empty.cli("stop", "--all", "--budget", "2s")
    assert status == 0
    assert "second: stopped already" in out
    views: list[dict[str, Any]] = [await empty.view(name) for name in ("first", "second")]
    assert [view["phase"] for view in views] == ["stopped", "stopped"]
    assert views[1]["waiting-for"] == []
    assert "GUEST_PHASE" in json.dumps((await empty.run("query-events"))["events"])
    assert not [
        event
        for event in (await empty.run("query-events", names=["second"]))["events"]
        if event["event"] == "GUEST_PHASE"
    ]

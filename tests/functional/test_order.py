"""Many guests: who starts after whom, how many at once, and who stops first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient

from tests.fakes import fake_qemu
from tests.functional.harness import DEADLINE, IDLE, Site, killed

QUICK = '[restart]\ndelay = "0 s"\nlimit = 2\n'
FAKE = IDLE + '[qemu]\nbinary = "{binary}"\nstart-timeout = "{timeout}"\n' + QUICK


@pytest.fixture(autouse=True)
async def _no_bug_was_logged(empty: Site) -> AsyncIterator[None]:
    yield
    assert "Traceback" not in empty.log


async def phases(here: Site) -> list[tuple[str, str]]:
    """Every phase that a guest came to since the daemon started, in order."""
    events = (await here.run("query-events"))["events"]
    return [(e["data"]["name"], e["data"]["phase"]) for e in events if e["event"] == "GUEST_PHASE"]


def most_at_once(course: list[tuple[str, str]], phase: str) -> int:
    """How many guests were in a phase at one moment, at most."""
    now: dict[str, str] = {}
    most = 0
    for name, reached in course:
        now[name] = reached
        most = max(most, sum(one == phase for one in now.values()))
    return most


def declare_chain(here: Site, more: str = "") -> None:
    """``a`` comes after ``m``, ``m`` after ``z``: the alphabet would have it the other way round."""
    for name, after in (("z", "[]"), ("m", '["z"]'), ("a", '["m", "z"]')):
        here.guest(name, f"{more}after = {after}\n{IDLE}")


async def test_at_autostart_a_guest_starts_once_those_it_comes_after_run(empty: Site) -> None:
    declare_chain(empty, "autostart = true\n")
    await empty.start()
    await empty.phase("a", "running")
    assert await phases(empty) == [(n, p) for n in ("z", "m", "a") for p in ("starting", "running")]


async def test_start_all_goes_up_in_order_and_stop_all_comes_down_in_reverse(empty: Site) -> None:
    declare_chain(empty)
    await empty.start()
    assert (await empty.cli("start", "--all"))[0] == 0
    up = await phases(empty)
    assert up == [(n, p) for n in ("z", "m", "a") for p in ("starting", "running")]
    status, out, _ = await empty.cli("stop", "--all")
    assert (status, out) == (0, "a: stopped by quit\nm: stopped by quit\nz: stopped by quit\n")
    down = (await phases(empty))[len(up) :]
    assert down == [(n, p) for n in ("a", "m", "z") for p in ("stopping", "stopped")]


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("how", ["autostart", "start --all"])
async def test_only_so_many_guests_are_starting_at_one_moment(how: str, limit: int, empty: Site) -> None:
    file = empty.config / "qsup.toml"
    file.write_text(file.read_text() + f"parallel-starts = {limit}\n")
    names = [f"g{number}" for number in range(5)]
    for name in names:
        empty.guest(name, f"autostart = {str(how == 'autostart').lower()}\n{IDLE}")
    await empty.start()
    if how != "autostart":
        assert (await empty.cli("start", "--all"))[0] == 0
    for name in names:
        await empty.phase(name, "running")
    assert most_at_once(await phases(empty), "starting") == limit


async def waiting(empty: Site, tmp_path: Path, **keys: Any) -> tuple[Site, Path]:
    """``first`` never greets, ``second`` waits for it since the daemon started."""
    binary = fake_qemu.install(tmp_path, "silent")
    timeout = keys.get("timeout", "1 h")
    empty.guest("first", "autostart = true\n" + FAKE, binary=binary, timeout=timeout)
    empty.guest("second", 'autostart = true\nafter = ["first"]\n' + IDLE)
    await empty.start()
    await empty.phase("first", "starting")
    assert (await empty.view("second"))["waiting-for"] == ["first"]
    return empty, binary


async def pid_of(here: Site, name: str) -> int:
    """The pid of a starting guest, as soon as it has one: its QEMU is asked first what it can do."""
    async with asyncio.timeout(DEADLINE):
        while (pid := (await here.phase(name, "starting"))["pid"]) is None:
            # No event announces a process that does not answer yet.
            await asyncio.sleep(0.02)
    assert isinstance(pid, int)
    return pid


async def test_a_guest_that_waits_says_for_whom(empty: Site, tmp_path: Path) -> None:
    here, _ = await waiting(empty, tmp_path)
    assert "Waits for:  first" in (await here.cli("status", "second"))[1]
    assert "It waits until these guests are ready: first." in (await here.cli("why", "second"))[1]
    # An operator's word counts more than the order: who names a guest alone means it.
    assert (await here.cli("start", "second"))[0] == 0
    assert (await here.view("second"))["phase"] == "running"
    await here.run("guest-kill", name="first")
    assert (await here.view("second"))["waiting-for"] == []


async def test_a_guest_that_is_given_up_does_not_hold_up_those_after_it_for_ever(
    empty: Site, tmp_path: Path
) -> None:
    here, _ = await waiting(empty, tmp_path, timeout="200 ms")
    await here.phase("first", "gave-up")
    await here.phase("second", "running")
    assert (await here.view("second"))["waiting-for"] == []


async def test_two_who_wait_for_the_same_at_once_are_both_served(empty: Site, tmp_path: Path) -> None:
    here, binary = await waiting(empty, tmp_path)
    client: QMPClient = await here.connect()
    everything = asyncio.ensure_future(client.execute("guest-start", {"names": ["*"]}))
    # The next command on another connection is answered after the first was taken.
    assert (await here.view("second"))["waiting-for"] == ["first"]
    fake_qemu.set_modes(binary, "")
    await killed(await pid_of(here, "first"))
    async with asyncio.timeout(DEADLINE):
        outcomes = await everything
    assert isinstance(outcomes, list)
    assert outcomes[1]["done"], outcomes
    await client.disconnect()
    await here.phase("first", "running")
    await here.phase("second", "running")


async def test_an_operators_stop_of_a_guest_that_waits_costs_the_others_no_place(
    empty: Site, tmp_path: Path
) -> None:
    file = empty.config / "qsup.toml"
    file.write_text(file.read_text() + "parallel-starts = 1\n")
    empty.guest("third", 'autostart = true\nafter = ["second"]\n' + IDLE)
    here, _ = await waiting(empty, tmp_path)
    await here.run("guest-stop", name="second")
    await here.run("guest-kill", name="first")
    await here.phase("third", "running")
    assert (await here.view("second"))["phase"] == "stopped"


async def test_a_guest_that_is_forgotten_while_it_waits_costs_the_others_nothing(
    empty: Site, tmp_path: Path
) -> None:
    here, _ = await waiting(empty, tmp_path)
    (here.config / "guests/second.toml").unlink()
    here.guest("third", IDLE)
    await here.run("reload-config")
    assert [guest["name"] for guest in await here.run("query-guests")] == ["first", "third"]
    await here.run("guest-kill", name="first")
    await here.run("guest-start", name="third")
    assert (await here.view("third"))["phase"] == "running"


async def test_a_guest_that_is_forgotten_while_others_wait_for_it_lets_them_go(empty: Site) -> None:
    slow = '[restart]\ndelay = "1 h"\nmax-delay = "1 h"\n[qemu]\nargs = ["-device", "no-such-device"]\n'
    empty.guest("first", "autostart = true\n" + IDLE + slow)
    empty.guest("second", 'autostart = true\nafter = ["first"]\n' + IDLE)
    await empty.start()
    await empty.phase("first", "backoff")
    assert (await empty.view("second"))["waiting-for"] == ["first"]
    (empty.config / "guests/first.toml").unlink()
    await empty.run("reload-config")
    await empty.phase("second", "running")

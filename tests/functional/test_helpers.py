"""Helper processes as parts of a guest: a TPM, file servers, a network, on the real daemon and the real QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from qsup.argv.facts import HostFacts
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.share import Share
from qsup.spec.tables.tpm import Tpm
from tests.functional.harness import DEADLINE, IDLE, Site, alive, ending, killed
from tests.functional.helper_processes import with_programs

TPM = "[tpm]\nenabled = true\n"
SHARES = '[share.data]\npath = "{share}"\n[share.old]\npath = "{share}"\ntype = "9p"\n'
PASST = '[nic.lan]\ntype = "passt"\nforward = ["tcp:127.0.0.1:{port}:22"]\n'
AT_ONCE = '[restart]\ndelay = "0 s"\n'

INFO_NETWORK: dict[str, Any] = {
    "command": "human-monitor-command",
    "arguments": {"command-line": "info network"},
}

NEEDS_TPM = GuestSpec(name="a", tpm=Tpm(enabled=True))
NEEDS_VIRTIOFS = GuestSpec(name="a", share={"data": Share(path=HostPath("/"))})
NEEDS_PASST = GuestSpec(name="a", nic={"lan": Nic(type=NicType.PASST)})


def skip_without(*specs: GuestSpec) -> None:
    """Skip, aloud, where a program that one of the guests needs is not installed."""
    for spec in specs:
        with_programs(HostFacts("qemu", kvm=False), spec)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def started(here: Site, text: str, **values: object) -> dict[str, Any]:
    """The facts of a guest ``g`` that has this beside an idle machine, once it runs."""
    (here.root / "share").mkdir(exist_ok=True)
    here.guest("g", IDLE + text, share=here.root / "share", **values)
    if here.process is None:
        await here.start()
    else:
        await here.run("reload-config")
    await here.run("guest-start", name="g")
    return await here.phase("g", "running")


async def gone(pid: int) -> None:
    """Wait until a process has ended, whoever's child it is."""
    with contextlib.suppress(ProcessLookupError):
        async with ending(pid):
            pass


def marked(root: Path) -> list[int]:
    """The processes that are marked as helpers of a guest below the root."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"QSUP_HELPER={root}/".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


async def test_a_tpm_answers_and_keeps_its_state_with_the_guest(empty: Site) -> None:
    skip_without(NEEDS_TPM)
    view = await started(empty, TPM)
    assert list(view["helpers"]) == ["tpm"]
    told = await empty.run("guest-qmp", name="g", command="query-tpm")
    assert told[0]["model"] == "tpm-crb"
    assert (empty.state / "guests/g/tpm/tpm2-00.permall").exists()
    await empty.run("guest-stop", name="g")
    assert marked(empty.root) == []
    again = await started(empty, TPM)
    assert again["helpers"]["tpm"] != view["helpers"]["tpm"]


async def test_every_helper_ends_with_its_guest(empty: Site) -> None:
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS, NEEDS_PASST)
    view = await started(empty, TPM + SHARES + PASST, port=free_port())
    assert sorted(view["helpers"]) == ["net-lan", "share-data", "tpm"]
    await empty.run("guest-stop", name="g")
    assert not any(alive(pid) for pid in view["helpers"].values())
    assert marked(empty.root) == []


async def test_a_killed_qemu_takes_its_helpers_along_and_gets_new_ones(empty: Site) -> None:
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS, NEEDS_PASST)
    view = await started(empty, TPM + SHARES + PASST + AT_ONCE, port=free_port())
    await killed(view["pid"])
    again = await empty.until("g", lambda now: now["restarts"] == 1 and now["phase"] == "running")
    assert again["cause"] == "qemu-signal", "not the helpers, which ended after it"
    assert sorted(again["helpers"]) == ["net-lan", "share-data", "tpm"]
    assert not set(again["helpers"].values()) & set(view["helpers"].values())
    assert not any(alive(pid) for pid in view["helpers"].values())


@pytest.mark.parametrize(("name", "needs"), [("tpm", NEEDS_TPM), ("share-data", NEEDS_VIRTIOFS)])
async def test_a_helper_that_cannot_be_replaced_is_answered_by_the_policy(
    name: str, needs: GuestSpec, empty: Site
) -> None:
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS)
    view = await started(empty, TPM + SHARES + AT_ONCE)
    await killed(view["helpers"][name])
    again = await empty.until("g", lambda now: now["restarts"] == 1 and now["phase"] == "running")
    assert again["cause"] == "helper-died"
    assert f"the helper {name} ended (signal 9 (SIGKILL))" in again["last-end"]["detail"]
    assert again["pid"] != view["pid"]


async def test_a_rule_decides_about_a_dead_helper(empty: Site) -> None:
    skip_without(NEEDS_TPM)
    view = await started(empty, TPM + '[restart.on]\nhelper-died = "ignore"\n')
    await killed(view["helpers"]["tpm"])
    left = await empty.until("g", lambda now: not now["helpers"])
    assert (left["phase"], left["pid"]) == ("running", view["pid"])
    await empty.run("guest-stop", name="g")
    view = await started(empty, TPM + '[restart.on]\nhelper-died = "stop"\n')
    await killed(view["helpers"]["tpm"])
    assert (await empty.phase("g", "stopped"))["cause"] == "helper-died"


async def test_passt_forwards_a_port_and_is_replaced_under_the_running_guest(empty: Site) -> None:
    """Nobody connects before the end: QEMU keeps packets for a guest without a driver, and sees nothing meanwhile."""
    skip_without(NEEDS_PASST)
    port = free_port()
    view = await started(empty, PASST, port=port)
    seen = [view["helpers"]["net-lan"]]
    for _ in range(2):
        await listens(port)
        await killed(seen[-1])
        view = await empty.until("g", lambda now: now["helpers"].get("net-lan", seen[-1]) not in seen)
        assert (view["phase"], view["restarts"]) == ("running", 0)
        seen.append(view["helpers"]["net-lan"])
    await listens(port)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    async with asyncio.timeout(DEADLINE):
        while "net-lan.sock" not in await empty.run("guest-qmp", name="g", **INFO_NETWORK):
            await asyncio.sleep(0.02)
    await empty.run("guest-stop", name="g")
    assert marked(empty.root) == []


async def listens(port: int) -> None:
    """Wait until somebody listens on the port, which no event announces."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    return
            await asyncio.sleep(0.02)


async def test_the_next_daemon_adopts_helpers_and_ends_them_with_the_guest(empty: Site) -> None:
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS, NEEDS_PASST)
    before = await started(empty, TPM + SHARES + PASST, port=free_port())
    await empty.kill()
    assert all(alive(pid) for pid in before["helpers"].values())
    await empty.start()
    after = await empty.phase("g", "running")
    assert (after["pid"], after["helpers"]) == (before["pid"], before["helpers"])
    await empty.run("guest-stop", name="g")
    assert not any(alive(pid) for pid in before["helpers"].values())
    assert marked(empty.root) == []


async def test_a_helper_that_died_while_no_daemon_was_there_is_noticed(empty: Site) -> None:
    skip_without(NEEDS_TPM, NEEDS_PASST)
    before = await started(empty, TPM + PASST + AT_ONCE, port=free_port())
    await empty.kill()
    await killed(before["helpers"]["net-lan"])
    await empty.start()
    after = await empty.until("g", lambda now: len(now["helpers"]) == 2)
    assert (after["pid"], after["restarts"]) == (before["pid"], 0)
    await empty.kill()
    await killed(before["helpers"]["tpm"])
    await empty.start()
    after = await empty.until("g", lambda now: now["restarts"] == 1 and now["phase"] == "running")
    assert after["cause"] == "helper-died"


async def test_helpers_are_found_by_their_marks_when_no_record_tells_of_them(empty: Site) -> None:
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS)
    before = await started(empty, TPM + SHARES)
    await empty.kill()
    (empty.runtime / "guests/g/launch.json").unlink()
    await empty.start()
    after = await empty.phase("g", "running")
    assert (after["pid"], after["helpers"]) == (before["pid"], before["helpers"])


async def test_helpers_that_hang_are_reclaimed_when_daemon_and_qemu_are_gone(empty: Site) -> None:
    """A helper ends with its QEMU; one that is stopped cannot, and is still there for the next daemon."""
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS, NEEDS_PASST)
    before = await started(empty, TPM + SHARES + PASST, port=free_port())
    os.kill(before["helpers"]["tpm"], signal.SIGSTOP)
    await empty.kill()
    await killed(before["pid"])
    for name in ("share-data", "net-lan"):
        await gone(before["helpers"][name])
    assert alive(before["helpers"]["tpm"])
    await empty.start()
    after = await empty.until("g", lambda now: now["phase"] == "running" and now["restarts"] == 1)
    assert not alive(before["helpers"]["tpm"])
    assert sorted(after["helpers"]) == ["net-lan", "share-data", "tpm"]


async def test_a_helper_that_cannot_start_is_the_reason_in_its_own_words(empty: Site) -> None:
    skip_without(NEEDS_TPM)
    state = empty.state / "guests/g/tpm"
    state.parent.mkdir(parents=True)
    state.mkdir()
    (state / "tpm2-00.permall").write_bytes(b"torn")
    empty.guest("g", IDLE + TPM + '[restart]\npolicy = "never"\n')
    await empty.start()
    with pytest.raises(Exception, match="start-failed"):
        await empty.run("guest-start", name="g")
    view = await empty.phase("g", "stopped")
    assert view["cause"] == "start-failed"
    assert marked(empty.root) == []


async def test_a_program_that_is_not_installed_is_named_with_its_package(empty: Site) -> None:
    with (empty.config / "qsup.toml").open("a") as file:
        file.write('swtpm = "/nonexistent/swtpm"\n')
    empty.guest("g", IDLE + TPM + '[restart]\npolicy = "never"\n')
    await empty.start()
    with pytest.raises(
        Exception, match=r"tpm\.enabled: swtpm is not installed; install it \(package swtpm\)"
    ):
        await empty.run("guest-start", name="g")


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.09])
async def test_a_daemon_killed_during_a_launch_leaves_no_helper_without_a_guest(
    delay: float, empty: Site
) -> None:
    """Killed at many moments of a launch: what is left belongs to the one QEMU that runs."""
    skip_without(NEEDS_TPM, NEEDS_VIRTIOFS, NEEDS_PASST)
    (empty.root / "share").mkdir()
    empty.guest("g", IDLE + TPM + SHARES + PASST, share=empty.root / "share", port=free_port())
    await empty.start()
    starting = asyncio.ensure_future(empty.client.execute("guest-start", {"name": "g"}))
    await asyncio.sleep(delay)
    await empty.kill()
    await asyncio.gather(starting, return_exceptions=True)
    await empty.start()
    if (await empty.view("g"))["wanted"] == "running":
        await empty.until("g", lambda now: now["phase"] == "running" and len(now["helpers"]) == 3)
        await empty.run("guest-stop", name="g")
    assert marked(empty.root) == []

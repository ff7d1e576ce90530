"""Drills, readiness and health on real QEMUs: what the files say is what happens."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.functional import causes
from tests.functional.harness import HEARTBEAT, Site

DRILLS = """
[drill]
allowed = true
panic = "c"
triple-fault = "t"
hang = "h"
[restart]
delay = "100 ms"
[stop]
methods = []
[hang]
qemu-timeout = "2 s"
guest-timeout = "4 s"
stage-wait = "1 s"
guest-stages = ["evidence", "reset"]
"""


LINUX = """
[machine]
accel = "tcg"
[memory]
size = "256 MiB"
[boot]
kernel = "{kernel}"
initrd = "{initrd}"
cmdline = "console=ttyS0 quiet panic=-1"
[serial.console]
[panic]
enabled = true
[ready]
check = "console"
text = "linux: up"
[drill]
allowed = true
panic = "echo c >/proc/sysrq-trigger\\n"
[stop]
methods = []
"""


async def held(here: Site, kind: str) -> dict[str, Any]:
    """Hold a drill with ``heart``; its rows by what they are about."""
    report = await here.run("guest-drill", name="heart", kind=kind)
    rows = {row["what"]: row for row in report["expectations"]}
    assert report["ok"], rows
    return rows


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("kill", "qemu-signal"),
        ("panic", "guest-panic"),
        ("triple-fault", "triple-fault"),
        ("stop-qemu", "qemu-stopped"),
        ("hang", "guest-hung"),
    ],
)
async def test_a_drill_goes_as_the_file_says(
    kind: str, cause: str, empty: Site, heartbeat_image: Path
) -> None:
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + DRILLS)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat")
    rows = await held(empty, kind)
    assert rows["cause"]["seen"] == cause
    assert (rows["bundle"]["seen"] != "none") == (kind != "triple-fault")
    assert (await empty.view("heart"))["ready"]


@pytest.mark.linux_guest
async def test_a_drill_types_a_line_for_a_shell(empty: Site, linux_guest: tuple[Path, Path]) -> None:
    kernel, initrd = linux_guest
    empty.guest("heart", LINUX.format(kernel=kernel, initrd=initrd))
    await empty.start()
    status, out, err = await empty.cli("start", "--wait", "heart")
    assert status == 0, out + err
    # Until then what is typed goes to nobody.
    await empty.prints("heart", "/ #")
    rows = await held(empty, "panic")
    assert rows["cause"]["seen"] == "guest-panic"
    assert "sysrq triggered crash" in (await empty.view("heart"))["last-end"]["detail"]


@pytest.mark.parametrize(
    ("table", "program", "cause"),
    [("[tpm]\nenabled = true\n", "swtpm", "helper-died"), ('[nic.lan]\ntype = "passt"\n', "passt", "none")],
)
async def test_a_drill_kills_a_helper(
    table: str, program: str, cause: str, empty: Site, heartbeat_image: Path
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + table + DRILLS)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat")
    before = (await empty.view("heart"))["pid"]
    rows = await held(empty, "helper")
    assert rows["cause"]["seen"] == cause
    # A passt is replaced under the QEMU that needs it.
    assert ((await empty.view("heart"))["pid"] == before) == (cause == "none")


async def test_a_drill_of_which_nothing_is_noticed_waits_for_nothing_else(
    empty: Site, heartbeat_image: Path
) -> None:
    """It would wait for the restart as well, which this file puts off for minutes."""
    more = DRILLS.replace('"c"', '"?"').replace('delay = "100 ms"', 'delay = "10 min"\nmax-delay = "10 min"')
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + more)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat")
    report = await empty.run("guest-drill", name="heart", kind="panic")
    seen = {row["what"]: row["seen"] for row in report["expectations"]}
    assert (report["ok"], seen["noticed"], seen["there"]) == (False, "not", "not")


async def test_a_full_disk_is_drilled_without_filling_the_host_s(empty: Site, tmp_path: Path) -> None:
    image = causes.build(tmp_path / "causes.img")
    text = causes.guest(image, "tcg", "[drill]\nallowed = true\n")
    empty.guest("heart", text)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", ".")
    await empty.types("heart", "d")
    await empty.prints("heart", "+")
    rows = await held(empty, "enospc")
    assert rows["cause"]["seen"] == "no-space"


async def test_a_daemon_that_dies_in_a_drill_leaves_no_disk_full(empty: Site, tmp_path: Path) -> None:
    image = causes.build(tmp_path / "causes.img")
    empty.guest("heart", causes.guest(image, "tcg", "[drill]\nallowed = true\n"))
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", ".")
    async with asyncio.TaskGroup() as tasks:
        drill = tasks.create_task(empty.cli("drill", "heart", "--enospc", "--yes"))
        while "qsup-drill" not in await nodes(empty):
            assert not drill.done(), drill.result()
        await empty.kill()
    assert drill.result()[0] != 0
    await empty.start()
    await empty.phase("heart", "running")
    await empty.types("heart", "d")
    await empty.said("no-space")
    await empty.prints("heart", "+")
    await empty.phase("heart", "running")
    rows = await held(empty, "enospc")
    assert rows["cause"]["seen"] == "no-space"
    assert "qsup-drill" not in await nodes(empty)


async def nodes(here: Site) -> set[str]:
    """The block nodes of ``heart``."""
    told = await here.run(
        "guest-qmp", name="heart", command="query-named-block-nodes", arguments={"flat": True}
    )
    return {node["node-name"] for node in told}


async def test_a_drill_asks_first_and_is_refused_where_it_is_not_allowed(beating: Site) -> None:
    status, _, err = await beating.cli("drill", "heart", "--kill")
    assert (status, "say --yes" in err) == (1, True)
    status, _, err = await beating.cli("drill", "heart", "--kill", "--yes")
    assert status == 1
    assert "allows no drills" in err
    assert (await beating.view("heart"))["restarts"] == 0


async def test_a_guest_is_ready_when_it_has_printed_what_its_file_says(
    empty: Site, heartbeat_image: Path
) -> None:
    more = '[ready]\ncheck = "console"\ntext = "beat 2"\n[stop]\nmethods = []\n'
    empty.guest("first", HEARTBEAT.format(image=heartbeat_image) + more)
    text = 'after = ["first"]\n' + HEARTBEAT.format(image=heartbeat_image) + "[stop]\nmethods = []\n"
    empty.guest("second", text)
    await empty.start()
    status, out, _ = await empty.cli("start", "--wait", "first", "second")
    assert status == 0, out
    assert "running and ready, pid " in out
    first, second = await empty.view("first"), await empty.view("second")
    assert first["ready-after"] > 1
    assert second["started-at"] > first["started-at"]
    assert "beat 2" in empty.printed("first")


async def test_a_guest_that_is_never_ready_is_given_up(empty: Site, heartbeat_image: Path) -> None:
    more = (
        '[ready]\ncheck = "tcp"\naddress = "127.0.0.1:1"\ntimeout = "1 s"\ninterval = "200 ms"\n'
        '[restart]\nlimit = 2\ndelay = "0 s"\n[stop]\nmethods = []\n'
    )
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + more)
    await empty.start()
    await empty.run("guest-start", name="heart")
    view = await empty.phase("heart", "gave-up")
    assert (view["cause"], view["failures"]) == ("start-timeout", 2)


UNWELL = """
[[health]]
name = "port"
check = "tcp"
address = "127.0.0.1:1"
interval = "1 s"
failures = 2
start-period = "0 s"
[restart]
delay = "0 s"
[stop]
methods = []
"""


async def test_an_unhealthy_guest_is_restarted_unless_somebody_works_on_it(
    empty: Site, heartbeat_image: Path
) -> None:
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + UNWELL)
    await empty.start()
    await empty.run("guest-start", name="heart")
    view = await empty.until("heart", lambda view: view["restarts"] == 1)
    assert view["cause"] == "guest-unhealthy"
    status, out, _ = await empty.cli("maintenance", "heart", "on", "--for", "1h")
    assert (status, out) == (0, "heart: under maintenance for 1 h\n")
    _, out, _ = await empty.cli("list")
    assert "; under maintenance until 20" in out
    assert (await empty.view("heart"))["maintenance"] is not None
    assert (await empty.cli("maintenance", "heart", "off"))[0] == 0


async def test_a_bundle_tells_the_story(empty: Site, heartbeat_image: Path, tmp_path: Path) -> None:
    empty.guest("heart", HEARTBEAT.format(image=heartbeat_image) + DRILLS)
    await empty.start()
    await empty.run("guest-start", name="heart")
    await empty.prints("heart", "beat")
    await held(empty, "panic")
    await empty.said("qsup crash show heart-")
    status, out, _ = await empty.cli("crash", "show", "heart")
    assert status == 0
    assert "guest-panic" in out
    archive = tmp_path / "bundle.tar.gz"
    assert (await empty.cli("crash", "export", "heart", "-o", str(archive)))[0] == 0
    assert archive.stat().st_size > 1000
    status, out, _ = await empty.cli("history", "heart")
    assert status == 0
    assert "guest-panic" in out

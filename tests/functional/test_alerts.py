"""A real daemon, a real QEMU that is killed, and those who are told of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.receivers import Mailbox, Receiver, receiver, script
from tests.functional.harness import IDLE, Site, killed

GUEST = IDLE + '[restart]\ndelay = "0 s"\nlimit = 1000\n'


@pytest.fixture
async def web() -> AsyncIterator[Receiver]:
    async with receiver() as one:
        yield one


def declare(here: Site, text: str) -> None:
    """Write the daemon's file, with the QEMU that it names already."""
    file = here.config / "qsup.toml"
    head = file.read_text().partition("\n")[0]
    file.write_text(f"{head}\nwatch = false\n{text}")


async def running(here: Site, *names: str) -> None:
    for name in names:
        here.guest(name, GUEST)
    await here.start()
    await here.run("guest-start", names=list(names))


async def kill_qemu(here: Site, name: str) -> None:
    """Kill the guest's QEMU, and wait until the next one runs."""
    view = await here.view(name)
    await killed(view["pid"])
    await here.until(name, lambda now: now["phase"] == "running" and now["pid"] not in (None, view["pid"]))


async def test_a_killed_qemu_is_told_by_webhook_command_and_mail(
    empty: Site, web: Receiver, tmp_path: Path
) -> None:
    box = Mailbox(tmp_path)
    page = script(tmp_path / "page", f'cat >{tmp_path}/message; echo "$QSUP_CAUSE" >{tmp_path}/paged')
    text = f"""
sendmail = "{box.program}"
[[alert]]
name = "ops"
guests = ["idle"]
causes = ["qemu-signal"]
command = ["{page}"]
webhook = "{web.url}"
mail = ["root", "ops@example.org"]
"""
    declare(empty, text)
    await running(empty, "idle", "other")
    await kill_qemu(empty, "other")
    await kill_qemu(empty, "idle")
    message = (await web.next()).json
    assert (message["alert"], message["guest"], message["cause"]) == ("ops", "idle", "qemu-signal")
    assert message["phase"] == "starting"
    assert "signal 9 (SIGKILL) ended QEMU" in message["detail"]
    assert message["decision"] == 'restart.policy = "on-failure": restart at once'
    assert (message["suppressed"], message["test"]) == (0, False)
    assert message["bundle"].startswith("idle-")
    await empty.said(f"command {page} was told")
    assert (tmp_path / "paged").read_text() == "qemu-signal\n"
    assert json.loads((tmp_path / "message").read_text()) == message
    await empty.said("mail root, ops@example.org was told")
    (mail,) = box.mails
    assert mail["Subject"] == message["subject"]
    assert mail.get_content() == message["text"]
    assert web.requests.empty()


async def test_a_crash_loop_is_no_storm_of_alerts(empty: Site, web: Receiver) -> None:
    alert = f'[[alert]]\nname = "ops"\ncauses = ["qemu-signal"]\nwebhook = "{web.url}"\nlimit = 1\n'
    declare(empty, f'{alert}window = "3 s"\n')
    await running(empty, "idle")
    crashes = 0
    told: list[dict[str, Any]] = []
    while not any(message["suppressed"] for message in told):
        await kill_qemu(empty, "idle")
        crashes += 1
        while not web.requests.empty():
            told.append((await web.next()).json)
    assert told[0]["suppressed"] == 0
    assert len(told) + told[-1]["suppressed"] <= crashes


async def test_alerts_follow_the_file_and_a_broken_file_silences_none(empty: Site, web: Receiver) -> None:
    await running(empty, "idle")
    await kill_qemu(empty, "idle")
    alert = f'[[alert]]\nname = "NAME"\ncauses = ["qemu-signal"]\nwebhook = "{web.url}"\n'
    declare(empty, alert.replace("NAME", "first"))
    assert (await empty.cli("reload"))[0] == 0
    await kill_qemu(empty, "idle")
    assert (await web.next()).json["alert"] == "first"
    declare(empty, alert.replace("NAME", "second") + "limit = 0\n")
    status, _, err = await empty.cli("reload")
    assert (status, "qsup.toml:7: alert[0].limit: 0 is out of range" in err) == (1, True)
    await kill_qemu(empty, "idle")
    assert (await web.next()).json["alert"] == "first"
    declare(empty, alert.replace("NAME", "second"))
    assert (await empty.cli("reload"))[0] == 0
    await kill_qemu(empty, "idle")
    assert (await web.next()).json["alert"] == "second"
    assert web.requests.empty()


async def test_a_new_daemon_tells_what_it_finds_out_and_not_what_was_so_before(
    empty: Site, web: Receiver
) -> None:
    causes = '"qemu-signal", "unknown"'
    declare(
        empty,
        f'[[alert]]\nname = "ops"\ncauses = [{causes}]\nphases = ["running"]\nwebhook = "{web.url}"\n',
    )
    await running(empty, "idle")
    assert (await web.next()).json["phase"] == "running"
    await empty.kill()
    await empty.start()
    await empty.phase("idle", "running")
    assert web.requests.empty(), "it ran all the time"
    pid = (await empty.view("idle"))["pid"]
    await empty.kill()
    await killed(pid)
    await empty.start()
    assert (await web.next()).json["cause"] in ("qemu-signal", "unknown")


async def test_a_test_of_an_alert_says_how_each_way_went(empty: Site, web: Receiver, tmp_path: Path) -> None:
    page = script(tmp_path / "page", 'echo "the pager of $QSUP_GUEST is off"; exit 1')
    declare(
        empty, f'[[alert]]\nname = "ops"\nphases = ["gave-up"]\nwebhook = "{web.url}"\ncommand = ["{page}"]\n'
    )
    await running(empty, "idle")
    server = web.url.rpartition("/")[0]
    assert await empty.cli("alert", "test", "ops", "--guest", "idle") == (
        1,
        f"webhook to {server}: delivered\n",
        f"qsup: command to {page}: {page}: exit 1; it said: the pager of idle is off\n",
    )
    message = (await web.next()).json
    assert (message["guest"], message["phase"], message["test"]) == ("idle", "running", True)
    status, out, _ = await empty.cli("alert", "test", "ops", "--json")
    assert (status, [one["done"] for one in json.loads(out)["deliveries"]]) == (1, [False, True])
    assert (await web.next()).json["guest"] == "test"
    status, _, err = await empty.cli("alert", "test", "opps")
    assert (status, err) == (2, 'qsup: there is no alert "opps"; there are: ops; did you mean "ops"?\n')
    assert (await empty.cli("alert", "test", "ops", "--guest", "nobody"))[0] == 3


async def test_a_receiver_that_hangs_delays_no_guest_and_the_end_of_the_daemon_not_long(
    empty: Site, web: Receiver
) -> None:
    web.answers = [-1]
    declare(empty, f'[[alert]]\nname = "ops"\ncauses = ["qemu-signal"]\nwebhook = "{web.url}"\n')
    await running(empty, "idle")
    for _ in range(3):
        await kill_qemu(empty, "idle")
    await web.next()
    assert await empty.leave() == 0
    assert "messages of alerts that were not delivered before the end: 3" in empty.log


async def test_one_complaint_for_a_receiver_that_is_away(empty: Site) -> None:
    text = '[[alert]]\nname = "ops"\ncauses = ["qemu-signal"]\ncommand = ["/nonexistent/page"]\n'
    declare(empty, text)
    await running(empty, "idle")
    for _ in range(3):
        await kill_qemu(empty, "idle")
    told = await empty.said("alert ops does not get through by command")
    assert "cannot execute /nonexistent/page: No such file or directory" in told
    await empty.leave()
    assert empty.log.count("does not get through") == 1

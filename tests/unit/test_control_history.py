"""A guest's history over the control socket and as ``qsup history`` shows it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from qsup.control.account import account
from qsup.control.told import told
from qsup.history.kept import Account, Moment
from tests.conftest import ROOT
from tests.fakes.control_bench import Bench, running_bench
from tests.fakes.fake_history import WATCH, event, figures
from tests.fakes.fake_supervisor import SINCE
from tests.unit.test_control_text import NASTY, is_safe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NEXT = msgspec.structs.replace(
    WATCH, id=2, pid=18, began=Moment(SINCE + 90, 190.0), seen=Moment(SINCE + 99, 199.0)
)
EVENTS = (
    event(1, "GUEST_PHASE", phase="running", was="starting", reason="its vCPUs run"),
    event(2, "GUEST_ENDED", cause="qemu-signal", status="signal 9", detail="killed", decision="restart"),
    event(95, "GUEST_FOUND", watch=2, phase="running", ready=True, wanted="running", adopted=True, pid=7),
    event(96, "GUEST_STRANGE", watch=2, what="new", empty=None, many=["a", "b"]),
)


def kept(**facts: object) -> Account:
    base = Account(figures=figures(), events=EVENTS, more=False, watches={1: WATCH, 2: NEXT})
    return msgspec.structs.replace(base, **facts)


def test_figures_come_first_then_the_events_the_newest_last() -> None:
    text = account("web1", kept(), None).text
    head, _, events = text.partition("\n\n")
    assert [line.split(maxsplit=1) for line in head.splitlines()] == [
        ["web1:", "available 99.93 % of the 1 d in which it was wanted"],
        ["Period:", head.splitlines()[1].split(maxsplit=1)[1]],
        ["Up:", "23 h 59 min"],
        ["Down:", "1 min"],
        ["Runs:", "3, the longest for 13 h 53 min"],
        ["Failures:", "2 (qemu-signal 2), one in 11 h 59 min of being up"],
        ["Recovery:", "30 s from a failure until it was ready again, on average"],
        ["Start:", "250 ms until it was ready, in the median"],
    ]
    lines = events.splitlines()
    column = lines[0].index("WHAT")
    assert [line[column:] for line in lines[1:]] == [
        "running (was starting): its vCPUs run",
        "qemu-signal (signal 9): killed; restart",
        "the last sign of the daemon, which did not leave in order",
        "a daemon came: qsup 0.1.0, pid 18",
        "running, ready, adopted with pid 7; wanted running",
        "what=new  many=a, b",
    ]
    assert [line.split()[1] for line in lines[1:]] == [
        "GUEST_PHASE", "GUEST_ENDED", "-", "-", "GUEST_FOUND", "GUEST_STRANGE"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"availability": 99.9999999}, "available 99.999 %"),
        ({"availability": 100.0}, "available 100 %"),
        ({"availability": None, "up": 0.0, "down": 0.0}, "never wanted running in this time"),
        ({"off": 60.0}, "Not wanted: 1 min"),
        ({"unwatched": 3600.0}, "Unwatched:  1 h, with no daemon to see it"),
        ({"runs": 0, "longest_run": None}, "Runs:       none"),
        ({"failures": {}, "between_failures": None}, "Failures:   none"),
    ],
)
def test_what_there_is_nothing_of_is_not_made_up(facts: dict[str, object], line: str) -> None:
    assert line in account("web1", kept(figures=figures(**facts)), None).text


def test_of_a_guest_without_events_it_is_told_so() -> None:
    nothing = Account(figures=None, events=(), more=False, watches={})
    assert account("web1", nothing, None).text == "web1: nothing is known of it in this time\n"
    assert "Recovery" not in account("web1", kept(figures=figures(to_recover=None)), None).text


def test_that_there_is_more_and_that_something_is_wrong_is_told() -> None:
    answer = account("web1", kept(more=True), "the disk is full")
    assert answer.text.endswith("(there are earlier ones: --lines)\n")
    assert (answer.errors, answer.exit) == ("what happens now cannot be kept: the disk is full", 0)


def test_the_end_of_a_daemon_in_order_is_told_from_any_other() -> None:
    orderly = {1: msgspec.structs.replace(WATCH, orderly=True), 2: NEXT}
    assert "the daemon left\n" in account("web1", kept(watches=orderly), None).text


def test_nothing_that_a_guest_could_have_written_reaches_the_terminal_as_it_is() -> None:
    bad = event(1, NASTY, message=NASTY)
    worse = event(2, "GUEST_PHASE", phase=NASTY, was=[NASTY], reason={NASTY: NASTY})
    failures = figures(failures={NASTY: 1})
    answer = account(NASTY, kept(figures=failures, events=(bad, worse)), NASTY)
    assert is_safe(answer.text)
    assert is_safe(answer.errors)
    assert len(answer.text.splitlines()) == len(
        account("web1", kept(events=(bad, worse)), None).text.splitlines()
    )


def test_an_event_of_any_kind_is_told_whatever_its_data_lacks() -> None:
    for kind in ("GUEST_PHASE", "GUEST_ENDED", "GUEST_FOUND", "GUEST_NOTICE", "NEW"):
        assert isinstance(told(kind, {}), str)
    assert told("GUEST_NOTICE", {"name": "web1", "message": "hello"}) == "hello"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as bench:
        bench.history.accounts = {"web1": kept(), "gone": kept(events=())}
        yield bench


async def test_the_answer_holds_figures_and_events_in_the_shape_of_qmp(bench: Bench) -> None:
    client = await bench.client()
    answer = (await client.ask("query-history", name="web1"))["return"]
    assert answer.keys() == {"name", "figures", "events", "more", "watches", "trouble"}
    assert answer["events"][0] == {
        "event": "GUEST_PHASE",
        "data": {"name": "web1", "phase": "running", "was": "starting", "reason": "its vCPUs run"},
        "timestamp": {"seconds": int(SINCE) + 1, "microseconds": 0},
        "seq": 1,
        "boot": "b0",
        "daemon": 17,
    }
    assert answer["figures"]["availability"] == 99.931
    assert answer["figures"]["between-failures"] == 43170.0
    assert answer["figures"]["since"].startswith("2023-11-1")
    assert [watch["pid"] for watch in answer["watches"]] == [17, 18]
    assert bench.history.asked == [("web1", None, 20)]


async def test_a_guest_that_is_gone_has_a_history_and_one_that_never_was_has_none(bench: Bench) -> None:
    client = await bench.client()
    assert (await client.ask("query-history", name="gone"))["return"]["figures"]["runs"] == 3
    assert (await client.ask("query-history", name="web2"))["return"]["figures"] is None
    error = (await client.ask("query-history", name="never"))["error"]
    assert error["class"] == "GuestNotFound"


async def test_the_period_is_given_as_an_age_or_as_a_time(bench: Bench) -> None:
    client = await bench.client()
    await client.ask("query-history", name="web1", since=SINCE, limit=5)
    before = time.time()
    await client.ask("query-history", name="web1", age=3600, limit=0)
    (_, since, limit), (_, aged, nothing) = bench.history.asked
    assert (since, limit, nothing) == (SINCE, 5, 0)
    assert aged is not None
    assert before - 3600 <= aged <= time.time() - 3600
    for wrong in ({"age": 1, "since": 1}, {"age": -1}, {"limit": 100_000}, {"since": "soon"}):
        assert "error" in await client.ask("query-history", name="web1", **wrong)


async def qsup(bench: Bench, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qsup.cli", *words,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "QSUP_SOCKET": bench.path},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command_shows_what_the_daemon_tells(bench: Bench) -> None:
    assert await qsup(bench, "history", "web1") == (0, account("web1", kept(), None).text, "")
    code, out, _ = await qsup(bench, "history", "web1", "--json")
    assert (code, len(json.loads(out)["events"])) == (0, 4)
    bench.history.trouble = "the disk is full"
    code, out, err = await qsup(bench, "history", "web1", "--since", "700d", "--lines", "3")
    assert (code, err) == (0, "qsup: what happens now cannot be kept: the disk is full\n")
    await qsup(bench, "history", "web1", "--figures")
    assert [limit for _, _, limit in bench.history.asked] == [20, 20, 3, 0]
    since = bench.history.asked[2][1]
    assert since is not None
    assert abs(time.time() - since - 700 * 86400) < 60


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("history",), 2),
        (("history", "web1", "web2"), 2),
        (("history", "web1", "--since", "yesterday"), 2),
        (("history", "web1", "--lines", "-1"), 2),
        (("history", "never"), 3),
    ],
)
async def test_a_mistake_has_its_exit_code(bench: Bench, words: tuple[str, ...], code: int) -> None:
    assert (await qsup(bench, *words))[0] == code

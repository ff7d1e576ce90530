"""Under a real systemd: what happens to guests is in the journal, by fields, and ``journalctl -x`` explains it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from qsup.events import Kind
from qsup.journal.messages import MESSAGES, PHASES
from qsup.phase import Phase
from tests.conftest import ROOT
from tests.system.box import Box, box

BIN = ROOT / ".venv/bin"
GUEST = """
[machine]
accel = "tcg"
[memory]
size = "16 MiB"
[stop]
methods = []
[restart]
delay = "0 s"
limit = 2
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, qemu_binary: str) -> Iterator[Box]:
    """A host on which this checkout's daemon runs, with two guests."""
    directory = tmp_path_factory.mktemp("journal") / "boxes"
    with box("journal", directory, "--bind", f"{ROOT}:{ROOT}") as made:
        made.run("rm", "-rf", "/etc/qsup", "/var/lib/qsup")
        made.run(str(BIN / "qsupd"), "--install")
        made.run("mkdir", "-p", "/etc/qsup/guests")
        for name in ("web1", "web2"):
            made.run("sh", "-c", f"printf '%s' '{GUEST}' >/etc/qsup/guests/{name}.toml")
        made.run("systemctl", "start", "qsupd")
        yield made


def qsup(here: Box, *words: str) -> str:
    return here.run(str(BIN / "qsup"), *words)


def pid(here: Box, name: str) -> str:
    (found,) = json.loads(qsup(here, "status", "--json", name))
    return str(found["pid"])


def entries(here: Box, *matches: str) -> list[dict[str, str]]:
    """What the journal has, the oldest first; it has been synchronised before."""
    here.run("journalctl", "--sync")
    lines = here.run("journalctl", "--no-pager", "-o", "json", *matches).splitlines()
    return [json.loads(line) for line in lines]


def wait_for(here: Box, *matches: str) -> None:
    """Wait until an entry is there."""
    follow = " ".join(("journalctl", "--no-pager", "-f", "-n", "all", "-o", "cat", *matches))
    here.run("timeout", "60", "sh", "-c", f"{follow} | grep -q -m 1 ''")


def test_what_happens_to_a_guest_is_found_and_explained(host: Box) -> None:
    qsup(host, "start", "web1")
    for number in (1, 2):
        host.run("kill", "-KILL", pid(host, "web1"))
        wait_for(host, "QSUP_EVENT=GUEST_ENDED" if number == 1 else "QSUP_PHASE=gave-up")
        if number == 1:
            qsup(host, "start", "--wait", "web1")
    told = entries(host, "QSUP_GUEST=web1", f"MESSAGE_ID={MESSAGES[Kind.ENDED].id}")
    assert [entry["QSUP_CAUSE"] for entry in told] == ["qemu-signal"] * 2
    first = told[0]
    assert first["SYSLOG_IDENTIFIER"] == "qsupd"
    assert first["_TRANSPORT"] == "journal"
    assert first["PRIORITY"] == "4"
    assert first["_SYSTEMD_UNIT"] == "qsupd.service"
    assert first["MESSAGE"].startswith("web1: ended (signal 9 (SIGKILL)): qemu-signal")
    assert first["CODE_FILE"].endswith("qsup/daemon.py")
    assert int(first["CODE_LINE"]) > 0
    given_up = entries(host, f"MESSAGE_ID={PHASES[Phase.GAVE_UP].id}")
    assert [(entry["QSUP_PHASE"], entry["PRIORITY"]) for entry in given_up] == [("gave-up", "3")]
    explained = host.run("journalctl", "--no-pager", "-x", "QSUP_PHASE=gave-up")
    assert "Subject: Guest web1 is given up: it stays off until somebody starts it" in explained
    assert "Defined-By: qsup" in explained
    assert "`qsup start web1`" in explained


def test_what_a_qemu_says_stands_under_its_guests_own_name(host: Box) -> None:
    qsup(host, "start", "--wait", "web2")
    was = pid(host, "web2")
    host.run("kill", "-TERM", was)
    wait_for(host, "-t", "qsup-web2")
    (entry,) = entries(host, "-t", "qsup-web2")
    assert entry["MESSAGE"].startswith("qemu-system-x86_64: terminating on signal 15")
    assert (entry["QSUP_GUEST"], entry["PRIORITY"], entry["OBJECT_PID"]) == ("web2", "3", was)

    # What QEMU writes goes into a file, and the next daemon goes on reading where the last had stopped.
    qsup(host, "start", "--wait", "web2")
    host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "qsupd")
    host.run("systemctl", "restart", "qsupd")
    now = pid(host, "web2")
    host.run("kill", "-TERM", now)
    wait_for(host, "-t", "qsup-web2", f"OBJECT_PID={now}")
    assert len(entries(host, "-t", "qsup-web2")) == 2

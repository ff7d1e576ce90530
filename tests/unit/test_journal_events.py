"""Each kind of event has its place in the journal, and the catalog explains it."""

from __future__ import annotations

import logging
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qsup.cause import Cause
from qsup.cli.arguments import parse
from qsup.events import Event, Kind
from qsup.journal import messages
from qsup.journal.entry import FIELDS, entry
from qsup.phase import Phase
from tests.conftest import ROOT

CATALOG = ROOT / "systemd/qsup.catalog"
END = {"cause": "qemu-signal", "detail": "killed", "evidence": [], "bundle": "web1-1"}
DATA: dict[Kind, dict[str, Any]] = {
    Kind.PHASE: {"phase": "running", "was": "starting", "ready": True, "wanted": "running", "reason": "runs"},
    Kind.READY: {"after": 0.5, "detail": "it runs"},
    Kind.ENDED: {
        **END,
        "status": "signal 9 (SIGKILL)",
        "ran": 1.0,
        "decision": "restart",
        "stopped-by": None,
    },
    Kind.TROUBLE: {**END, "cause": "no-space", "decision": "it waits", "bundle": None},
    Kind.RECOVERED: {"cause": "no-space", "detail": "there is room", "after": 4.0},
    Kind.STATUS: {"status": "exit 0", "cause": "qemu-exit"},
    Kind.NOTICE: {"message": "look"},
    Kind.SPEC: {"change": "changed", "paths": ["memory.size: 1 GiB → 2 GiB"]},
    Kind.COMMAND: {"command": "guest-stop", "by": "alice (uid 1000, pid 7)", "uid": 1000, "pid": 7},
    Kind.ALERT_FAILED: {"alert": "ops", "way": "mail", "to": "root", "message": "no sendmail"},
    Kind.RELOADED: {"added": [], "changed": [], "removed": [], "problems": ["guests/a.toml:1: x"]},
}


def event(kind: Kind, **more: object) -> Event:
    name = {} if kind is Kind.RELOADED else {"name": "web1"}
    return Event(1, 0.0, kind, {**name, **DATA[kind], **more})


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_event_has_a_line_an_id_and_the_guest(kind: Kind) -> None:
    told = entry(event(kind))
    assert told.line
    assert told.fields["MESSAGE_ID"] == messages.MESSAGES[kind].id
    assert told.fields["QSUP_EVENT"] == kind.value
    assert told.fields.get("QSUP_GUEST") == (None if kind is Kind.RELOADED else "web1")


def test_the_fields_hold_what_the_event_has() -> None:
    ended = entry(event(Kind.ENDED)).fields
    assert (ended["QSUP_CAUSE"], ended["QSUP_BUNDLE"]) == ("qemu-signal", "web1-1")
    assert entry(event(Kind.PHASE)).fields["QSUP_PHASE"] == "running"
    assert entry(event(Kind.ALERT_FAILED)).fields["QSUP_ALERT"] == "ops"
    assert "QSUP_BUNDLE" not in entry(event(Kind.TROUBLE)).fields


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (event(Kind.PHASE), logging.INFO),
        (event(Kind.PHASE, phase="gave-up"), logging.ERROR),
        (event(Kind.PHASE, phase="unreachable"), logging.WARNING),
        (event(Kind.ENDED), logging.WARNING),
        (event(Kind.ENDED, cause="guest-shutdown"), logging.INFO),
        (event(Kind.RELOADED), logging.WARNING),
        (event(Kind.RELOADED, problems=[]), logging.INFO),
    ],
)
def test_what_somebody_should_look_at_is_a_warning_or_worse(told: Event, level: int) -> None:
    assert entry(told).level == level


def test_a_phase_that_asks_for_something_is_a_kind_of_its_own() -> None:
    for phase in Phase:
        expected = messages.PHASES.get(phase, messages.MESSAGES[Kind.PHASE])
        assert entry(event(Kind.PHASE, phase=phase.value)).fields["MESSAGE_ID"] == expected.id


def test_ids_stay_what_they_are() -> None:
    """Rules on hosts look for them: an id may be added here, none may change."""
    known = {kind.name: message.id for kind, message in messages.MESSAGES.items()}
    known |= {phase.name: message.id for phase, message in messages.PHASES.items()}
    assert known | {"BUG": messages.BUG.id} == {
        "PHASE": "c459fd4ea98c45b7b9807c5e70d943e3",
        "READY": "e0aa1f2062304f3cb6a37799a5fe2389",
        "ENDED": "b50b477c08484677b55461c2a6311cc0",
        "TROUBLE": "dbff293670174ef9892b88b500b42a0f",
        "RECOVERED": "a0fd5eb804e7423aa6f29efc0ca44b45",
        "STATUS": "ab4c8eeb5742484bbcf9b3fd17b5396f",
        "NOTICE": "7e05697a440d454fa3b150af60c0ae7f",
        "SPEC": "51876d5ba3984499b97eeffed475c984",
        "COMMAND": "a1a63024433948e0b17312316bc75ea5",
        "ALERT_FAILED": "e1ddc74a715140af87194454891862da",
        "RELOADED": "0fbc22d687314414b328bff862c81f05",
        "GAVE_UP": "716ce5f9a53843fa8a611eb7315846bb",
        "UNREACHABLE": "471105384e524670ab7dccb4f55c062c",
        "BUG": "5a33c8a4cc914daa8aa9b67adde55ce1",
    }


def all_messages() -> list[messages.Message]:
    return [*messages.MESSAGES.values(), *messages.PHASES.values(), messages.BUG]


def test_no_two_kinds_share_an_id() -> None:
    ids = [message.id for message in all_messages()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize("message", all_messages(), ids=lambda message: message.subject)
def test_explanations_use_only_fields_that_their_entries_have(message: messages.Message) -> None:
    kinds = [kind for kind, one in messages.MESSAGES.items() if one is message] or [Kind.PHASE]
    has = {"QSUP_GUEST"} if kinds != [Kind.RELOADED] and message is not messages.BUG else set()
    has |= {field for field, key in FIELDS.items() if isinstance(DATA[kinds[0]].get(key), str)}
    assert set(re.findall(r"@([A-Z_]+)@", message.subject + message.text)) <= has


@pytest.mark.parametrize("message", all_messages(), ids=lambda message: message.subject)
def test_explanations_name_commands_that_there_are(message: messages.Message) -> None:
    named = re.findall(r"`qsup ([^`]+)`", " ".join(message.text.split()))
    for words in named:
        assert parse(words.replace("@QSUP_GUEST@", "web1").split())


def test_systemd_takes_the_catalog(tmp_path: Path) -> None:
    if not Path("/usr/bin/journalctl").exists():
        pytest.skip("journalctl is not installed (package systemd)")
    (tmp_path / "usr/lib/systemd/catalog").mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/catalog/qsup.catalog").write_text(CATALOG.read_text())
    done = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--update-catalog"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--list-catalog"], capture_output=True, text=True, check=False
    ).stdout
    assert dict(line.split(maxsplit=1) for line in listed.splitlines()) == {
        message.id: f"qsup: {message.subject}" for message in all_messages()
    }


def test_every_cause_can_stand_in_an_entry() -> None:
    for cause in Cause:
        assert entry(event(Kind.ENDED, cause=cause.value)).fields["QSUP_CAUSE"] == cause.value

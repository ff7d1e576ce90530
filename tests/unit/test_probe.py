"""Asking a binary what it can do: broken ones, hostile ones, and the records of what they said."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsup.argv.facts import HostFacts
from qsup.errors import LaunchError
from qsup.probe import ask, prober
from qsup.probe.ask import find_out
from qsup.probe.prober import Prober
from qsup.probe.schema import TYPES, Entity, Schema, digest
from tests.fakes import fake_qemu


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "DEADLINE", 5.0)


def test_a_qemu_that_knows_nothing_is_not_blamed_for_it(tmp_path: Path) -> None:
    facts = find_out(str(fake_qemu.install(tmp_path)))
    assert facts.has_machine("anything")
    assert facts.has_device("anything")
    assert facts.has_member("ObjectType", "anything")
    assert facts.has_option("anything")
    assert facts.cpu_lacks("tcg", "anything") == ()


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("probe-exit=4", "ends with status 4; it says: fake qemu: exiting with status 4, as told"),
        ("probe-garbage", "does not speak QMP: it seems to be no QEMU"),
        ("probe-deep", "does not speak QMP"),
        ("probe-wrong", "answers query-version in a form that is not QEMU's"),
        ("probe-mute-error", "answers query-version with neither a value nor an error"),
        ("probe-flood", "sends more than QEMU has to say"),
        (
            "probe-dies=qmp_capabilities",
            "ends with status 3; it says: fake qemu: qmp_capabilities is too much",
        ),
    ],
)
def test_what_is_no_qemu_is_told_in_its_own_words(mode: str, told: str, tmp_path: Path) -> None:
    binary = fake_qemu.install(tmp_path, mode)
    with pytest.raises(LaunchError) as caught:
        find_out(str(binary))
    assert str(caught.value).startswith(f"{binary}, asked what it can do, ")
    assert told in str(caught.value)


def test_a_qemu_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "DEADLINE", 0.5)
    with pytest.raises(LaunchError, match="does not answer in time"):
        find_out(str(fake_qemu.install(tmp_path, "probe-hang")))


@pytest.mark.parametrize("question", ["query-version", "query-qmp-schema", "qom-list-types"])
def test_a_question_that_qemu_dies_over_stays_unknown_and_the_others_are_asked(
    question: str, tmp_path: Path
) -> None:
    binary = fake_qemu.install(tmp_path, f"probe-dies={question} probe-answers")
    facts = find_out(str(binary))
    assert facts.machines["board"].name == "board-1.0"
    assert (facts.version == "") == (question == "query-version")
    assert (facts.devices == {}) == (question == "qom-list-types")
    assert facts.takes_kvm


def test_what_is_not_executable_or_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="does not exist; install QEMU"):
        Prober(None, "").facts(str(tmp_path / "qemu"))
    (tmp_path / "qemu").write_text("not a program")
    with pytest.raises(LaunchError, match="is not an executable file"):
        Prober(None, "").facts(str(tmp_path / "qemu"))
    (tmp_path / "qemu").chmod(0o755)
    with pytest.raises(LaunchError, match="Exec format error"):
        Prober(None, "").facts(str(tmp_path / "qemu"))


def test_those_who_wait_for_an_answer_are_let_go_when_the_daemon_leaves(tmp_path: Path) -> None:
    asker = Prober(None, "")
    binary = fake_qemu.install(tmp_path, "probe-hang")
    errors: list[str] = []

    def ask_it() -> None:
        try:
            asker.facts(str(binary))
        except LaunchError as error:
            errors.append(str(error))

    thread = threading.Thread(target=ask_it)
    began = time.monotonic()
    thread.start()
    asker.close()
    thread.join()
    assert time.monotonic() - began < ask.DEADLINE / 2
    assert errors
    assert "nobody waits for the answer any more" in errors[0]


def test_a_binary_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    asker = Prober(None, "")
    for directory in ("hangs", "answers"):
        (tmp_path / directory).mkdir()
    hanging = fake_qemu.install(tmp_path / "hangs", "probe-hang")

    def ask_the_hanging_one() -> None:
        with pytest.raises(LaunchError):
            asker.facts(str(hanging))

    thread = threading.Thread(target=ask_the_hanging_one)
    thread.start()
    assert asker.facts(str(fake_qemu.install(tmp_path / "answers", "probe-answers"))).machines
    assert thread.is_alive()
    asker.close()
    thread.join()


# Records


def known(tmp_path: Path) -> tuple[str, Path, HostFacts]:
    """A binary that has been asked, its record, the answer."""
    binary = str(fake_qemu.install(tmp_path, "probe-answers"))
    facts = Prober(tmp_path / "cache", "boot").facts(binary)
    (record,) = (tmp_path / "cache").iterdir()
    return binary, record, facts


def silenced(tmp_path: Path) -> None:
    """From now on the binary answers nobody, so that what is known comes from a record."""
    fake_qemu.set_modes(tmp_path / "qemu", "probe-exit=1")


def test_a_record_is_read_instead_of_asking(tmp_path: Path) -> None:
    binary, _, facts = known(tmp_path)
    silenced(tmp_path)
    assert Prober(tmp_path / "cache", "boot").facts(binary) == facts


def test_what_is_remembered_in_memory_needs_no_record(tmp_path: Path) -> None:
    asker = Prober(None, "boot")
    binary = str(fake_qemu.install(tmp_path, "probe-answers"))
    facts = asker.facts(binary)
    silenced(tmp_path)
    assert asker.facts(binary) is facts


def spoilt(record: Path, **changes: Any) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.write_bytes(record.read_bytes()[:-20]),
        lambda record: record.write_bytes(b""),
        lambda record: record.write_bytes(b"[" * 100_000),
        lambda record: record.write_bytes(b"\xff" * 100),
        lambda record: spoilt(record, version=prober.VERSION + 1),
        lambda record: spoilt(record, boot="another"),
        lambda record: spoilt(record, kvm_trouble="it was broken then"),
        lambda record: spoilt(record, marks=[]),
        lambda record: spoilt(record, marks=[{"path": "/etc/passwd", "size": -1, "mtime_ns": 0, "inode": 0}]),
        lambda record: spoilt(record, facts={"binary": "/usr/bin/other", "kvm": True}),
        lambda record: spoilt(record, facts=7),
    ],
    ids=[
        "torn",
        "empty",
        "deep",
        "not text",
        "version",
        "boot",
        "kvm",
        "no marks",
        "another's",
        "facts",
        "type",
    ],
)
def test_a_record_that_does_not_hold_is_made_anew(spoil: Any, tmp_path: Path) -> None:
    binary, record, facts = known(tmp_path)
    whole = record.read_bytes()
    spoil(record)
    assert Prober(tmp_path / "cache", "boot").facts(binary) == facts
    assert record.read_bytes() == whole


def test_another_binary_in_the_same_place_is_asked(tmp_path: Path) -> None:
    binary, _, _ = known(tmp_path)
    silenced(tmp_path)
    (tmp_path / "qemu").write_bytes((tmp_path / "qemu").read_bytes() + b"\n")
    with pytest.raises(LaunchError, match="ends with status 1"):
        Prober(tmp_path / "cache", "boot").facts(binary)


def test_a_link_or_a_pipe_in_the_place_of_a_record_is_not_followed(tmp_path: Path) -> None:
    binary, record, facts = known(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    record.rename(elsewhere)
    before = elsewhere.read_bytes()
    record.symlink_to(elsewhere)
    assert Prober(tmp_path / "cache", "boot").facts(binary) == facts
    assert elsewhere.read_bytes() == before


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    binary = str(fake_qemu.install(tmp_path, "probe-answers"))
    (tmp_path / "cache").write_text("a file")
    assert Prober(tmp_path / "cache", "boot").facts(binary).machines
    assert "cannot be kept" in caplog.text


# The schema

SCHEMA = msgspec.convert(
    [
        {"name": "blockdev-add", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
        {
            "name": "1", "meta-type": "object", "tag": "driver",
            "members": [{"name": "driver", "type": "2"}, {"name": "node-name", "type": "str"}],
            "variants": [{"case": "file", "type": "3"}, {"case": "none", "type": "0"}],
        },
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "2", "meta-type": "enum", "values": ["file", "none"]},
        {"name": "3", "meta-type": "object", "members": [{"name": "aio", "type": "4"}, {"name": "l", "type": "[5]"}]},
        {"name": "4", "meta-type": "enum", "members": [{"name": "threads"}], "values": ["threads", "io_uring"]},
        {"name": "[5]", "meta-type": "array", "element-type": "5"},
        {"name": "5", "meta-type": "object", "members": [{"name": "x", "type": "1"}]},
        {"name": "6", "meta-type": "alternate", "members": [{"type": "1"}]},
        {"name": "STOP", "meta-type": "event", "arg-type": "0"},
    ],
    list[Entity],
)  # fmt: skip


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("blockdev-add", {"driver", "node-name"}),
        ("blockdev-add.driver", {"file", "none"}),
        ("blockdev-add:file", {"driver", "node-name", "aio", "l"}),
        ("blockdev-add:file.aio", {"threads", "io_uring"}),
        ("blockdev-add:file.l", {"x"}),
        ("blockdev-add:file.l.x:file.aio", {"threads", "io_uring"}),
        ("blockdev-add:none", {"driver", "node-name"}),
        ("blockdev-add:nbd", set()),
        ("blockdev-add.colour", set()),
        ("blockdev-add=", set()),
        ("no-command.at.all", set()),
    ],
)
def test_a_place_in_the_schema_is_found_from_its_command_on(place: str, names: set[str]) -> None:
    assert Schema(SCHEMA).names(place) == names


def test_types_have_their_documented_names() -> None:
    members = digest(SCHEMA)
    assert members["BlockdevAioOptions"] == {"threads", "io_uring"}
    assert members["blockdev-add:file"] == members["BlockdevOptionsFile"]
    assert members["commands"] == {"blockdev-add"}
    assert members["events"] == {"STOP"}
    assert "NetClientDriver" not in members, "what is not in the schema is not known, rather than empty"
    assert all(name[0].isupper() for name in TYPES)

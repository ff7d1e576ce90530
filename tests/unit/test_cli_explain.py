"""``qsup explain``: every key, by every name that somebody may have for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qsup.cli.full import run
from qsup.spec.keys import tables
from qsup.spec.model import DaemonConfig, GuestSpec

Capture = pytest.CaptureFixture[str]


def facts(capsys: Capture, *words: str) -> Any:
    assert run(["explain", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_key_is_told_with_all_that_is_known_of_it(capsys: Capture) -> None:
    assert run(["explain", "cpu.count"]) == 0
    assert capsys.readouterr().out == (
        "cpu.count\n  How many vCPUs.\n\n"
        "  allowed  integer: 1 to 1024\n"
        "  default  1\n"
        "  QEMU     -smp cpus=\n"
        "  since    QEMU 7.2 or older\n"
        "  files    guests/*.toml, profiles/*.toml\n"
    )


@pytest.mark.parametrize(
    "name", ["disk.cache", "disk.ID.cache", "disk.root.cache", "[disk.root.cache]", "disk.*.cache"]
)
def test_an_id_may_be_there_or_not(name: str, capsys: Capture) -> None:
    found = facts(capsys, name)
    assert (found["key"], found["default"], found["required"]) == ("disk.ID.cache", '"writeback"', False)
    assert '"directsync"' in found["allowed"]


def test_a_key_alone_is_enough_where_only_one_table_has_it(capsys: Capture) -> None:
    assert facts(capsys, "detect-zeroes")["key"] == "disk.ID.detect-zeroes"


def test_a_table_lists_its_keys(capsys: Capture) -> None:
    for name in ("disk", "disk.ID", "disk.root"):
        found = facts(capsys, name)
        assert found["table"] == "disk.ID"
        assert {"disk.ID.file", "disk.ID.bus"} <= {key["key"] for key in found["keys"]}
    assert run(["explain", "disk"]) == 0
    assert '`[disk."*"]` is what all of them have in common' in capsys.readouterr().out
    assert run(["explain", "restart"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("[restart]\n")
    assert "\n  max-delay" in out


def test_a_word_that_several_tables_have_is_told_of_each(capsys: Capture) -> None:
    found = facts(capsys, "enabled")
    assert {"agent.enabled", "rng.enabled", "panic.enabled"} <= {one["key"] for one in found}


def test_without_a_key_there_is_an_overview(capsys: Capture) -> None:
    assert run(["explain"]) == 0
    out = capsys.readouterr().out
    assert "\n[disk.ID]" in out
    assert "\nqsup.toml" in out
    assert {"table": "restart.on"}.items() <= next(
        one for one in facts(capsys) if one["table"] == "restart.on"
    ).items()


def test_every_key_and_every_table_can_be_asked_for(capsys: Capture) -> None:
    for section in (GuestSpec, DaemonConfig):
        for table in tables(section):
            for key in table.keys:
                name = ".".join((*table.path, key.name))
                found = facts(capsys, name)
                assert name in [one["key"] for one in (found if isinstance(found, list) else [found])]
            if table.path:
                assert facts(capsys, ".".join(table.path))["description"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("disk.fiel", "disk.file"),
        ("boot.ordr", "boot.order"),
        ("memroy", "memory"),
        ("max-dely", "restart.max-delay"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(name: str, near: str, capsys: Capture) -> None:
    assert run(["explain", name]) == 2
    assert capsys.readouterr().err == f'qsup: there is no key "{name}"; did you mean "{near}"?\n'

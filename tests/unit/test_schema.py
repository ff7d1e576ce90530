"""The JSON Schemas: they accept what qsup accepts, and refuse what an editor should underline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from qsup.cli.full import run
from qsup.spec.keys import tables
from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from qsup.spec.schema import FILES, schema
from tests.conftest import ROOT
from tests.unit.test_spec_load import BAD

SAMPLES = [
    *(("guest", path) for path in sorted(ROOT.glob("configs/guests/*.toml"))),
    *(("guest", path) for path in sorted(ROOT.glob("tests/golden/guests/*.toml"))),
    *(("profile", path) for path in sorted(ROOT.glob("configs/profiles/*.toml"))),
    ("daemon", ROOT / "configs/qsup.toml"),
]


def errors(kind: str, table: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft7Validator(schema(kind))
    return [error.message for error in validator.iter_errors(table)]


@pytest.mark.parametrize("kind", FILES)
def test_each_is_a_schema_of_draft_7(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(schema(kind))


@pytest.mark.parametrize(("kind", "path"), SAMPLES, ids=lambda value: getattr(value, "stem", value))
def test_every_sample_is_valid(kind: str, path: Path) -> None:
    assert errors(kind, tomli.loads(path.read_text())) == []


def test_every_sample_names_a_schema_that_is_there_and_is_as_the_code_has_it() -> None:
    for kind, path in SAMPLES:
        if ROOT / "configs" in path.parents:
            named = re.match(r"#:schema (\S+)\n", path.read_text())
            assert named is not None, f"{path} should begin with `#:schema ../{kind}.schema.json`"
            file = (path.parent / named[1]).resolve()
            assert json.loads(file.read_text()) == schema(kind), f"run scripts/readme; {path}"


@pytest.mark.parametrize(
    "text",
    [
        "typo = 1",
        "autostart = 'yes'",
        "[cpu]\ncount = 0",
        "[cpu]\ncount = '4'",
        "[memory]\nsize = '4 GB'",
        "[memory]\nsise = '4 GiB'",
        "[restart]\npolicy = 'allways'",
        "[restart]\ndelay = '-1 s'",
        "[disk.'a,b']\nfile = '/a'",
        "[disk.root]\nfile = ''",
        "[disk.root]\nbus = 'virtoi'",
        "[nic.lan]\nforward = 'tcp::80:80'",
        "[nic.lan]\nmac = '52-54-00-12-34-56'",
        "[stop]\nmethods = ['acpi', 'acpi', 'acpi', 'acpi', 'acpi']",
        "[cpu.features]\nvmx = 'on'",
    ],
)
def test_what_is_wrong_in_itself_is_underlined(text: str, tmp_path: Path) -> None:
    assert errors("guest", tomli.loads(text))
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests/a.toml").write_text(text)
    assert load(tmp_path).broken == {"a"}, "and qsup refuses it too"


@pytest.mark.parametrize("text", BAD)
def test_nothing_is_refused_that_qsup_takes(text: str, tmp_path: Path) -> None:
    """The other way round there are many: what several keys say together is no matter for a schema."""
    try:
        table = tomli.loads(text)
    except (ValueError, RecursionError):
        return
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests/web1.toml").write_text(text)
    assert load(tmp_path).broken or not errors("guest", table)


def test_a_part_of_a_guest_and_specifiers_are_valid() -> None:
    assert errors("guest", {"disk": {"root": {"read-only": True}}}) == []
    assert errors("profile", {"disk": {"*": {"bus": "sata"}}}) == []
    assert errors("profile", {"disk": {"*": {"bus": "sato"}}})
    assert (
        errors("guest", {"nic": {"lan": {"mac": "52:54:00:00:00:0%i", "forward": ["tcp::808%i:80"]}}}) == []
    )


def test_a_profile_cannot_name_profiles() -> None:
    assert errors("guest", {"profile": ["linux"]}) == []
    assert errors("profile", {"profile": ["linux"]})


def test_every_key_has_its_description_and_its_default() -> None:
    for table in tables(GuestSpec):
        place = schema("guest")
        for part in table.path:
            place = place["additionalProperties"] if part == "ID" else place["properties"][part]
        if table.array:
            place = place["items"]
        assert set(place["properties"]) >= {key.name for key in table.keys}
        for key in table.keys:
            assert place["properties"][key.name]["description"].startswith(key.description)
    cpu = schema("guest")["properties"]["cpu"]["properties"]
    assert (cpu["count"]["default"], cpu["count"]["minimum"], cpu["count"]["maximum"]) == (1, 1, 1024)
    assert "QEMU: -smp cpus=." in cpu["count"]["description"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    for words, kind in (([], "guest"), (["profile"], "profile"), (["daemon"], "daemon")):
        assert run(["schema", *words]) == 0
        assert json.loads(capsys.readouterr().out) == schema(kind)
    assert run(["schema", "nonsense"]) == 2


def test_it_needs_neither_daemon_nor_socket() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qsup.cli", "schema"], cwd=ROOT, env={}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")

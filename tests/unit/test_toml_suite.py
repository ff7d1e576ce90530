"""The public suite of TOML's own project: what it rejects is refused with a line, what it accepts is located.

``tests/data/toml-test.json`` holds its texts and its licence. Some of the texts that TOML 1.0 rejects are TOML 1.1,
which tomli reads, and so does qsup: newlines and a comma at the end of an inline table, times without seconds, and the
escapes ``\\e`` and ``\\x``.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
import tomli

from qsup.spec.load import load
from qsup.spec.locate import locate
from tests.conftest import ROOT
from tests.unit.test_spec_load import configuration
from tests.unit.test_spec_locate import paths

SUITE: Final[dict[str, Any]] = json.loads((ROOT / "tests/data/toml-test.json").read_text())
NEWER: Final = frozenset(
    {
        "datetime/no-secs",
        "inline-table/linebreak-01",
        "inline-table/linebreak-02",
        "inline-table/linebreak-03",
        "inline-table/linebreak-04",
        "inline-table/trailing-comma",
        "local-datetime/no-secs",
        "local-time/no-secs",
        "string/basic-byte-escapes",
    }
)
"""What TOML 1.0 rejects and 1.1 accepts."""
INVALID: Final = sorted(SUITE["invalid"].keys() - NEWER)
BOM: Final = "\ufeff"


def content(kind: str, name: str) -> bytes:
    """A text of the suite; those that are no UTF-8 are kept in base64."""
    text = SUITE[kind][name]
    return base64.b64decode(text["base64"]) if isinstance(text, dict) else str(text).encode()


def test_the_suite_is_whole() -> None:
    assert len(SUITE["invalid"]) > 450
    assert len(SUITE["valid"]) > 200
    assert len(NEWER & SUITE["invalid"].keys()) == len(NEWER)
    assert SUITE["license"][0] == "The MIT License (MIT)"


@pytest.mark.parametrize("name", INVALID)
def test_what_the_suite_rejects_is_refused_with_a_line(name: str, tmp_path: Path) -> None:
    configuration(tmp_path, {})
    data = content("invalid", name)
    (tmp_path / "guests/web1.toml").write_bytes(data)
    found = load(tmp_path)
    (problem,) = found.problems
    assert problem.file == "guests/web1.toml"
    assert problem.line is not None
    assert 1 <= problem.line <= data.count(b"\n") + 1
    assert problem.message.startswith("not TOML: ") or problem.message.startswith("not UTF-8")
    assert found.broken == {"web1"}


@pytest.mark.parametrize("name", sorted(NEWER))
def test_what_only_the_older_toml_rejects_is_read_as_the_newer(name: str, tmp_path: Path) -> None:
    configuration(tmp_path, {})
    (tmp_path / "guests/web1.toml").write_bytes(content("invalid", name))
    assert "not TOML" not in " ".join(str(problem) for problem in load(tmp_path).problems)


@pytest.mark.parametrize("name", SUITE["valid"])
def test_every_key_that_the_suite_accepts_has_its_line(name: str, tmp_path: Path) -> None:
    text = content("valid", name).decode().removeprefix(BOM).replace("\r\n", "\n")
    lines = locate(text)
    assert set(lines) == paths(tomli.loads(text))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
    configuration(tmp_path, {})
    (tmp_path / "guests/web1.toml").write_bytes(content("valid", name))
    assert all(
        problem.line is not None and "TOML" not in problem.message for problem in load(tmp_path).problems
    )

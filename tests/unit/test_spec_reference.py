"""The reference of all keys, and the README that holds it."""

from __future__ import annotations

from qsup.spec.reference import reference
from tests.conftest import ROOT


def test_the_reference_names_every_key_with_type_default_and_description() -> None:
    text = reference()
    assert "#### `[disk.ID]`" in text
    assert '| `size` | size | `"1 GiB"` |' in text
    assert "| `file` | path | required |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert all(row.split(" | ")[-1].strip(" |") for row in rows), "every key has a description"


def test_the_readme_holds_the_reference_as_it_is_generated() -> None:
    assert reference() in (ROOT / "README.md").read_text(), "run: python -m scripts.readme"

"""The reference of all keys."""

from __future__ import annotations

from qsup.spec.reference import reference


def test_the_reference_names_every_key_with_type_default_and_description() -> None:
    text = reference()
    assert "#### `[disk.ID]`" in text
    assert '| `size` | size | `"1 GiB"` |' in text
    assert "| `create` | size |  |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert all(row.split(" | ")[-1].strip(" |") for row in rows), "every key has a description"

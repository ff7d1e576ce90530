"""The reference of all keys, as Markdown, out of the declarations; README holds it, and a test compares the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.spec.keys import tables, text_of
from qsup.spec.model import DaemonConfig, GuestSpec
from qsup.spec.words import allowed, default

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.keys import Key, Table


def reference() -> str:
    """All keys of a guest's file and of the daemon's."""
    parts = ["### A guest: `guests/NAME.toml`\n"]
    parts += [part for table in tables(GuestSpec) for part in _table(table)]
    parts.append("### The daemon: `qsup.toml`\n")
    parts += [part for table in tables(DaemonConfig) for part in _table(table)]
    return "\n".join(parts)


def _table(table: Table) -> Iterator[str]:
    if table.path:
        yield f"#### `{table.header}`\n\n{text_of(table.section)}\n"
    if table.keys:
        yield "\n".join(["| key | value | default | |", "|---|---|---|---|", *map(_row, table.keys), ""])


def _row(key: Key) -> str:
    usual = default(key)
    words = "required" if usual is None else usual and f"`{usual}`"
    counterpart = f" QEMU: `{key.qemu}`." if key.qemu else ""
    cells = (f"`{key.name}`", allowed(key.declared, quote="`"), words, f"{key.description}{counterpart}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

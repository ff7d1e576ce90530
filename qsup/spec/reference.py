"""The reference of all keys, as Markdown, out of the declarations; README holds it, and a test compares the two."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from qsup.spec.base import HostPath, Section
from qsup.spec.explain import bare
from qsup.spec.model import DaemonConfig, GuestSpec
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator


def reference() -> str:
    """All keys of a guest's file and of the daemon's."""
    parts = ["### A guest: `guests/NAME.toml`\n", *_section(GuestSpec, "", "")]
    parts += ["### The daemon: `qsup.toml`\n", *_section(DaemonConfig, "", "")]
    return "\n".join(parts)


def _section(section: type[Section], title: str, head: str) -> Iterator[str]:
    """A table of the section's own keys, then its tables."""
    hints = get_type_hints(section, include_extras=True)
    rows: list[str] = []
    tables: list[tuple[type[Section], str]] = []
    for field in msgspec.structs.fields(section):
        if field.name == "name":
            continue
        declared = bare(hints[field.name])
        inner = bare(get_args(declared)[1]) if get_origin(declared) is dict else declared
        path = f"{head}{field.encode_name}"
        if isinstance(inner, type) and issubclass(inner, Section):
            tables.append((inner, path if inner is declared else f"{path}.ID"))
        else:
            cells = (
                f"`{field.encode_name}`",
                _kind(declared),
                _default(field),
                _description(hints[field.name]),
            )
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    if title:
        yield f"#### `[{title}]`\n\n{(section.__doc__ or '').strip()}\n"
    if rows:
        yield "\n".join(["| key | value | default | |", "|---|---|---|---|", *rows, ""])
    for inner, path in tables:
        yield from _section(inner, path, f"{path}.")


def _kind(kind: Any) -> str:
    names = {
        bool: "true or false",
        int: "integer",
        str: "string",
        HostPath: "path",
        Size: "size",
        Duration: "duration",
    }
    if get_origin(kind) is tuple:
        return f"array: {_kind(bare(get_args(kind)[0]))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    return names[kind]


def _default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default
    if default is msgspec.NODEFAULT:
        return "required"
    if default is None:
        return ""
    if isinstance(default, bool):
        return "`true`" if default else "`false`"
    if isinstance(default, tuple):
        return f"`[{', '.join(chr(34) + str(item) + chr(34) for item in default)}]`"
    if isinstance(default, int) and not isinstance(default, Size):
        return f"`{default}`"
    return f'`"{default}"`'


def _description(declared: Any) -> str:
    if get_origin(declared) is Annotated:
        for extra in declared.__metadata__:
            if isinstance(extra, msgspec.Meta) and extra.description:
                return extra.description
    return ""

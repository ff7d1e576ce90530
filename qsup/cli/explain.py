"""``qsup explain`` and ``qsup schema``: what may stand in the files, out of the declarations. Needs no daemon."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from qsup.cli.output import show, show_json
from qsup.control.text import table
from qsup.spec.base import COMMON
from qsup.spec.keys import tables, text_of
from qsup.spec.lookup import FILES, find
from qsup.spec.schema import schema
from qsup.spec.words import EXAMPLES, allowed, default, limits

if TYPE_CHECKING:
    from qsup.cli.arguments import Options
    from qsup.spec.keys import Key
    from qsup.spec.lookup import Found

WIDTH = 100
OLDEST = "7.2"
"""The oldest QEMU that is supported; what says nothing else is in it."""


def print_schema(options: Options) -> int:
    """Print the JSON Schema of a kind of file."""
    show_json(schema(options.kind))
    return 0


def explain(options: Options) -> int:
    """Tell what a key or a table is for; without one, which tables there are."""
    if options.key is None:
        return _overview(options)
    found = find(options.key)
    if options.json:
        facts = [_facts(one) for one in found]
        show_json(facts[0] if len(facts) == 1 else facts)
    else:
        show("\n".join(_text(one) for one in found))
    return 0


def _overview(options: Options) -> int:
    every = [
        (files, one) for section, files in FILES.items() for one in tables(section) if one.path or one.keys
    ]
    if options.json:
        show_json(
            [
                {"table": ".".join(one.path), "description": text_of(one.section), "files": files}
                for files, one in every
            ]
        )
        return 0
    rows = [(one.header if one.path else files, text_of(one.section)) for files, one in every]
    show("".join(f"{'  '.join(line)}\n" for line in table(("TABLE", "WHAT IT IS FOR"), rows)))
    show("\nqsup explain TABLE lists its keys, qsup explain TABLE.KEY tells all of one.\n")
    return 0


def _facts(found: Found) -> dict[str, Any]:
    key = found.key
    if key is None:
        return {
            "table": found.name,
            "description": text_of(found.table.section),
            "files": found.files,
            "keys": [_facts(found._replace(key=key)) for key in found.table.keys],
        }
    return {
        "key": found.name,
        "description": key.description,
        "allowed": allowed(key.declared),
        "limits": limits(key.declared),
        "required": default(key) is None,
        "default": default(key) or None,
        "qemu": key.qemu,
        "since": (key.since or OLDEST) if key.qemu else None,
        "files": found.files,
    }


def _text(found: Found) -> str:
    if found.key is not None:
        return f"{found.name}\n{_wrapped(found.key.description, '  ')}\n\n{_key(found, found.key)}"
    rows = [(key.name, default(key) or "", key.description) for key in found.table.keys]
    family = found.table.path[0] if found.table.path[-1:] == ("ID",) else None
    shared = f' `[{family}."{COMMON}"]` is what all of them have in common.' if family else ""
    head = f"{found.table.header}\n{_wrapped(text_of(found.table.section) + shared, '  ')}\n"
    if not rows:
        return head
    lines = table(("KEY", "DEFAULT", "WHAT IT DOES"), rows)
    column = sum(len(cell) + 2 for cell in lines[0][:-1]) + 2
    return f"{head}\n" + "".join(
        "  " + _hanging("  ".join(line[:-1]) + "  ", line[-1], column) + "\n" for line in lines
    )


def _hanging(head: str, text: str, column: int) -> str:
    """A text beside a head, its further lines below its first."""
    lines = textwrap.wrap(text, max(WIDTH - column, 30)) or [""]
    return head + f"\n{' ' * column}".join(lines)


def _key(found: Found, key: Key) -> str:
    usual = default(key)
    facts = (
        ("allowed", _allowed(key)),
        ("default", "none: it must be there" if usual is None else usual or "not set"),
        ("QEMU", key.qemu or "none: this is what qsup itself does"),
        ("since", f"QEMU {key.since}" if key.since else f"QEMU {OLDEST} or older" if key.qemu else ""),
        ("files", found.files),
    )
    return "".join(f"  {_hanging(f'{name:<9}', value, 11)}\n" for name, value in facts if value)


def _allowed(key: Key) -> str:
    told = [allowed(key.declared), limits(key.declared)]
    example = EXAMPLES.get(key.kind)
    return ": ".join(text for text in told if text) + (f", such as {example}" if example else "")


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)

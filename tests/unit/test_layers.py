"""The flow is the tree: what may import what, read from the source.

Imports under ``if TYPE_CHECKING`` count as well: an arrow that points back is one even if only a type follows it.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(__file__).parents[2] / "qsup"

LEAVES: Final = frozenset(
    {
        "",
        "acl",
        "atomic",
        "bucket",
        "bus",
        "cause",
        "clock",
        "endpoint",
        "errors",
        "events",
        "fdstore",
        "histogram",
        "loop",
        "notify",
        "paths",
        "phase",
        "post",
    }
    | {"handed", "pidfd", "resting", "rights", "role", "secret", "status", "threads", "units"}
)
"""Modules that import nothing of the rest, only each other; the empty name is ``qsup`` itself."""

BELOW: Final[dict[str, frozenset[str]]] = {
    "spec": frozenset(),
    "argv": frozenset({"spec"}),
    "importer": frozenset({"spec", "argv"}),
    "spawn": frozenset(),
    "proc": frozenset({"argv", "spawn"}),
    "qmp": frozenset(),
    "dbus": frozenset(),
    "scope": frozenset({"spec", "proc", "dbus"}),
    "blackbox": frozenset({"spec", "argv", "proc", "qmp"}),
    "probe": frozenset({"spec", "argv", "spawn"}),
    "firmware": frozenset({"spec", "argv"}),
    "preflight": frozenset({"spec", "argv", "proc", "scope", "probe", "firmware", "access"}),
    "checks": frozenset({"spec", "argv", "proc", "qmp"}),
    "vitals": frozenset({"spec", "argv", "proc", "qmp"}),
    "guest": frozenset(
        {"spec", "argv", "spawn", "proc", "qmp", "scope", "blackbox", "probe", "firmware", "preflight"}
        | {"checks", "vitals"}
    ),
    "drill": frozenset({"spec", "argv", "qmp", "vitals", "guest"}),
    "history": frozenset({"spec"}),
    "alerts": frozenset({"spec", "proc"}),
    "journal": frozenset({"spec", "proc"}),
    "access": frozenset({"spec"}),
    "order": frozenset(),
    "budget": frozenset(),
    "fleet": frozenset({"guest", "spec", "proc", "order", "budget"}),
    "supervisor": frozenset(
        {"spec", "argv", "proc", "qmp", "scope", "blackbox", "probe", "preflight", "checks", "guest", "drill"}
        | {"fleet"}
    ),
    "control": frozenset(
        {"spec", "argv", "proc", "qmp", "blackbox", "guest", "drill", "history", "access", "supervisor"}
        | {"budget", "fleet"}
    ),
    "power": frozenset({"dbus"}),
    "metrics": frozenset({"spec", "argv", "proc", "qmp", "blackbox", "vitals", "guest"}),
    "watch": frozenset(),
    "install": frozenset(),
    "daemon": frozenset(
        {
            "spec",
            "argv",
            "proc",
            "qmp",
            "blackbox",
            "probe",
            "checks",
            "guest",
            "supervisor",
            "access",
            "alerts",
            "history",
            "journal",
            "metrics",
        }
        | {"control", "power", "watch", "install"}
    ),
    "cli": frozenset({"control"}),
}
"""What each part may import beside leaves and itself. A new part has to be given its place here."""

EXCEPTIONS: Final[dict[str, frozenset[str]]] = {
    "cli.importing": frozenset({"spec", "importer"}),
    "cli.change": frozenset({"spec"}),
    "cli.edit": frozenset({"spec"}),
    "cli.explain": frozenset({"spec"}),
    "cli.offers": frozenset({"spec"}),
    "cli.key_offers": frozenset({"spec"}),
    "cli.check": frozenset({"spec", "argv", "probe", "preflight", "proc", "scope"}),
    "cli.selection": frozenset({"spec"}),
    "cli.new": frozenset({"spec"}),
}
"""What one module may import beyond its part: what looks at guest files, or writes them, where no daemon runs."""

SERVER_SIDE: Final = frozenset({"control.server", "control.handlers"})
"""The half of ``control`` that the command never loads: it would bring the whole daemon along."""

PURE_PARTS: Final = frozenset(
    {
        "spec",
        "argv",
        "importer",
        "checks",
        "vitals",
        "scope",
        "guest",
        "alerts",
        "history",
        "journal",
        "metrics",
        "access",
    }
)
WITH_IO: Final = frozenset(
    {
        "access.access",
        "access.accounts",
        "access.door",
        "access.peer",
        "alerts.alerts",
        "alerts.deliver",
        "alerts.lane",
        "alerts.webhook",
        "spec.files",
        "spec.load",
        "checks.agent",
        "checks.console",
        "checks.http",
        "checks.notify",
        "checks.reach",
        "checks.resolve",
        "checks.tcp",
        "checks.watch",
        "guest.actor",
        "guest.adopt",
        "guest.hands",
        "guest.grants",
        "guest.kept",
        "guest.timers",
        "guest.watching",
        "guest.helpers",
        "guest.host",
        "guest.launch",
        "guest.line",
        "guest.placing",
        "guest.prepare",
        "guest.record",
        "guest.operations",
        "guest.recorder",
        "guest.running",
        "guest.seed",
        "guest.users",
        "history.damage",
        "history.history",
        "history.reading",
        "history.schema",
        "history.store",
        "history.writer",
        "journal.log",
        "journal.native",
        "journal.voices",
        "metrics.ask",
        "metrics.expose",
        "metrics.gather",
        "metrics.kernel",
        "metrics.metrics",
        "metrics.server",
        "scope.device",
        "scope.ground",
        "scope.kills",
        "scope.listing",
        "scope.tree",
        "vitals.kernel",
        "vitals.look",
        "vitals.question",
        "vitals.watch",
    }
)
"""In the parts where the thinking is, everything is pure except these."""

IMPURE: Final = frozenset(
    {
        "asyncio",
        "fcntl",
        "multiprocessing",
        "os",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "socket",
        "sqlite3",
    }
    | {"subprocess", "tempfile", "threading", "time", "qsup.clock"}
)

OS_STRINGS: Final = frozenset(
    {"os.path", *(f"os.path.{name}" for name in ("basename", "isabs", "join", "normpath"))}
)
"""What a pure module may use of ``os``: it works on strings and looks at no file."""


def modules(root: Path) -> Iterator[tuple[str, str]]:
    """Every module below ``root`` as (name without ``qsup.``, source)."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, path.read_text(encoding="utf-8")


def imported(source: str, known: frozenset[str]) -> set[str]:
    """The absolute names of all modules that a source imports anywhere; ``known`` are those of ``qsup``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full here"
            members = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(member if member in known else str(node.module) for member in members)
    return found


def part_of(module: str) -> str:
    """The part of the tree: ``spec`` for ``spec.model``."""
    return module.partition(".")[0]


def inside(module: str) -> str | None:
    """``spec.model`` for ``qsup.spec.model``, the empty name for ``qsup``, None for anything else."""
    return module[5:] if module.startswith("qsup.") else "" if module == "qsup" else None


def violations(sources: dict[str, str]) -> list[str]:
    """Every import that breaks a rule, as a sentence."""
    known = frozenset(f"qsup.{name}" if name else "qsup" for name in sources)
    found = []
    for name, source in sources.items():
        imports = imported(source, known)
        found += [sentence for target in sorted(imports) if (sentence := points_back(name, target))]
        if part_of(name) in PURE_PARTS and name not in WITH_IO:
            found += [
                f"{name} is pure and imports {target}" for target in sorted(imports) if impure(target, source)
            ]
    return found


def points_back(name: str, target: str) -> str | None:
    """What is wrong with ``name`` importing ``target``, if anything is."""
    inner = inside(target)
    if inner is None:
        return None
    mine, theirs = part_of(name), part_of(inner)
    if mine not in LEAVES and mine not in BELOW:
        return f"{name} has no place in the tree; give it one in BELOW or LEAVES"
    if mine == "cli" and inner in SERVER_SIDE:
        return f"{name} imports {inner}, which belongs to the daemon"
    allowed = LEAVES | BELOW.get(mine, frozenset()) | EXCEPTIONS.get(name, frozenset())
    if theirs == mine or theirs in allowed:
        return None
    return f"{name} imports {inner}, which stands above or beside it"


def impure(target: str, source: str) -> bool:
    """Whether the import gives access to files, clocks, chance or processes; string functions of os.path do not."""
    if target == "os":
        return not only_os_strings(ast.parse(source))
    return target in IMPURE or target.partition(".")[0] in IMPURE


def only_os_strings(tree: ast.Module) -> bool:
    """Whether ``os`` is imported by this very name and only for what works on strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            return False
        if isinstance(node, ast.Import) and any(alias.name == "os" and alias.asname for alias in node.names):
            return False
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {text for text in used if text.startswith("os.")} <= OS_STRINGS


def test_no_arrow_points_back_and_what_is_pure_stays_pure() -> None:
    found = violations(dict(modules(PACKAGE)))
    assert not found, "\n".join(found)


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(dict(modules(PACKAGE))) == []
    assert circle({"a": "import qsup.b", "b": "def f():\n    from qsup import c", "c": "import qsup.a"}) != []


def circle(sources: dict[str, str]) -> list[str]:
    """Modules of which each imports the next, and the last is the first; none if there is no such circle."""
    known = frozenset(f"qsup.{name}" if name else "qsup" for name in sources)
    graph = {name: {inside(target) for target in imported(source, known)} for name, source in sources.items()}
    try:
        TopologicalSorter({name: targets - {None, name} for name, targets in graph.items()}).prepare()
    except CycleError as error:
        return list(map(str, error.args[1]))
    return []


def test_the_checker_reads_the_whole_tree() -> None:
    names = {name for name, _ in modules(PACKAGE)}
    assert {"", "errors", "spec.model", "argv.invocation", "guest.step", "proc.process"} <= names


def test_every_module_that_may_do_io_exists() -> None:
    assert {name for name, _ in modules(PACKAGE)} >= WITH_IO


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("spec.model", "from qsup.argv import build", "spec.model imports argv"),
        ("qmp.session", "from qsup.guest.step import step", "qmp.session imports guest.step"),
        ("errors", "import qsup.spec.model", "errors imports spec.model"),
        ("cli.main", "import qsup.guest", "cli.main imports guest"),
        (
            "cli.main",
            "from qsup.control import server",
            "cli.main imports control.server, which belongs to the daemon",
        ),
        ("control.render", "def f():\n    import qsup.daemon", "control.render imports daemon"),
        (
            "guest.step",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import qsup.daemon",
            "guest.step imports",
        ),
        ("guest.step", "import time", "guest.step is pure and imports time"),
        ("guest.step", "from qsup import clock", "guest.step is pure and imports qsup.clock"),
        ("argv.disk", "from os.path import exists", "argv.disk is pure and imports os.path"),
        ("argv.disk", "import os\nos.path.exists('/')", "argv.disk is pure and imports os"),
        ("argv.disk", "from os import getcwd", "argv.disk is pure and imports os"),
        ("argv.disk", "import os as o", "argv.disk is pure and imports os"),
        ("argv.disk", "import os\nos.path.join(os.getcwd(), 'x')", "argv.disk is pure and imports os"),
        ("cli.list", "import qsup.spec.load", "cli.list imports spec.load"),
        ("newcomer", "import qsup.errors", "newcomer has no place in the tree"),
    ],
)
def test_a_violation_is_found(name: str, source: str, sentence: str) -> None:
    tree = dict.fromkeys(
        ("", "clock", "errors", "argv", "control.server", "daemon", "guest", "guest.step"), ""
    )
    found = violations(tree | {name: source})
    assert len(found) == 1
    assert found[0].startswith(sentence)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("guest.actor", "import asyncio\nfrom qsup import clock\nfrom qsup.qmp.session import QmpSession"),
        ("proc.process", "import os\nfrom qsup.argv.invocation import Invocation"),
        ("spec.codec", "import os\nos.path.normpath('/a/../b')"),
        ("cli.check", "import qsup.spec.load"),
        ("bus", "from qsup import clock\nfrom qsup.events import Event"),
        ("cli.main", "import socket\nfrom qsup.control.client import call"),
        ("daemon", "import os\nfrom qsup import __version__\nfrom qsup.control import server"),
    ],
)
def test_what_the_tree_allows_is_no_violation(name: str, source: str) -> None:
    tree = dict.fromkeys(("", "clock", "events", "spec.load", "control", "control.server"), "")
    assert violations(tree | {name: source}) == []

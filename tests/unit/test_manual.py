"""The manual pages: nothing is missing in them, and troff has nothing to complain of."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from qsup.cause import Cause
from qsup.cli.arguments import command_line
from qsup.daemon import command_line as daemon_command_line
from qsup.errors import QsupError
from qsup.phase import Verb
from qsup.spawn.server import command_line as spawner_command_line
from qsup.spec.keys import tables
from qsup.spec.model import DaemonConfig, GuestSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Section

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("qsup.1", "qsupd.8", "qsup-spawn.8", "qsup.toml.5", "qsup-guest.5")


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of all pages."""
    directory = tmp_path_factory.mktemp("man")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1791115200"}
    subprocess.run([sys.executable, ROOT / "scripts/manual", directory], check=True, env=environment)
    return directory


@cache
def plain(page: Path) -> str:
    """A page without troff's escapes."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"\\f[BP]|\\&", "", text.replace(r"\-", "-").replace(r"\(dq", '"').replace(r"\e", "\\"))


def parsers(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield " ".join(words), parser
    for action in inner:
        for name, one in action.choices.items():
            yield from parsers(one, *words, name)


def test_there_are_these_pages_and_each_says_its_name_and_date(manual: Path) -> None:
    assert {path.name for path in manual.iterdir()} == {*PAGES}
    for page in manual.iterdir():
        name, _, section = page.name.rpartition(".")
        head = page.read_text().splitlines()
        assert head[:2] == [".Dd October 4, 2026", f".Dt {name.upper()} {section}"]
        assert f".Nm {name}" in head
        assert not re.search("@[A-Z]+@|generated:", page.read_text()), "a part that nobody has filled in"


def test_every_command_is_told_with_each_of_its_options(manual: Path) -> None:
    text = plain(manual / "qsup.1")
    told = {line.removeprefix(".It Cm ") for line in text.splitlines() if line.startswith(".It Cm ")}
    for words, parser in parsers(command_line()):
        lines = [line for line in told if line == words or line.startswith(f"{words} ")]
        assert lines, words
        for action in parser._actions:
            names = {*action.option_strings} - {"-h", "--help", "--socket", "--json"}
            for name in names:
                assert any(f"Fl {name[1:]}" in line for line in lines), (words, name)
    for verb in Verb:
        assert f".It Cm {verb} " in text


@pytest.mark.parametrize(
    ("page", "parser"), [("qsupd.8", daemon_command_line()), ("qsup-spawn.8", spawner_command_line())]
)
def test_every_option_of_the_daemons_is_told(
    page: str, parser: argparse.ArgumentParser, manual: Path
) -> None:
    text = plain(manual / page)
    for action in parser._actions:
        assert all(f"Fl {name[1:]}" in text for name in action.option_strings)


@pytest.mark.parametrize(("page", "section"), [("qsup-guest.5", GuestSpec), ("qsup.toml.5", DaemonConfig)])
def test_every_key_is_told_in_its_table(manual: Path, page: str, section: type[Section]) -> None:
    sections = re.split(r"^\.S[hs] ", plain(manual / page), flags=re.MULTILINE)
    told = {part.partition("\n")[0].strip('"'): part for part in sections}
    for table in tables(section):
        text = told[table.header if table.path else "KEYS"]
        for key in table.keys:
            assert f"\n.It Ic {key.name}\n" in text, (table.header, key.name)
            assert "".join(key.description.split())[:40].replace("`", "") in "".join(text.split()), key.name


def test_every_cause_and_every_exit_code_is_told(manual: Path) -> None:
    for cause in Cause:
        assert f"\n.It {cause} Ta " in plain(manual / "qsup-guest.5")
    kinds: tuple[type[QsupError], ...] = (QsupError, *QsupError.__subclasses__())
    codes = {0, *(kind.exit_code for kind in kinds)}
    status = plain(manual / "qsup.1").partition("EXIT STATUS")[2].partition("EXAMPLES")[0]
    assert {int(code) for code in re.findall(r"^\.It (\d)$", status, re.MULTILINE)} == codes


def test_mandoc_has_no_complaint(manual: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle", *PAGES], cwd=manual, capture_output=True, text=True, check=False
    )
    # Whether the pages that they name are installed is a matter of this host.
    elsewhere = re.compile("referenced manual not found|outdated mandoc.db")
    assert [line for line in done.stdout.splitlines() if not elsewhere.search(line)] == []


def test_groff_has_no_complaint(manual: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for page in PAGES:
        done = subprocess.run(
            ["groff", "-mdoc", "-ww", "-z", "-t", "-Tutf8", "-Kutf8", page],
            cwd=manual, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")

"""README says nothing that is not so: generated parts, commands, targets, examples."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from qsup.cli.arguments import parse
from qsup.cli.verbs import VERBS
from qsup.events import Kind
from qsup.phase import Phase
from qsup.spec.load import load
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOUR = (ROOT / "scripts/tour").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Every qsup command that README shows in a block, or with arguments in a sentence."""
    shown = re.findall(r"^\$ (qsup .*)$|`(qsup [a-z][^`|]*)`", README, re.MULTILINE)
    return [shlex.split(block or sentence) for block, sentence in shown if block or " " in sentence[5:]]


def test_the_generated_parts_are_as_the_code_has_them() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/readme", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_shown_is_one_that_qsup_takes() -> None:
    assert len(commands()) > 10
    for command in commands():
        assert parse(command[1:]), command


def test_every_verb_is_named() -> None:
    listed = re.search(r"`qsup (list \|[^`]*)`", README)
    assert listed is not None
    assert set(re.split(r"\s*\|\s*", listed[1].replace("\n", " "))) == set(VERBS)


def test_every_target_named_is_in_the_makefile() -> None:
    targets = set(re.findall(r"make ([a-z]+)", README))
    assert {"run", "test", "tour", "check", "bench"} <= targets
    for target in targets:
        assert f"\n{target}:" in MAKEFILE, target


def test_the_commands_of_the_tour_are_those_that_the_tour_types() -> None:
    section = README.partition("## A tour of five minutes")[2].partition("More to try")[0]
    typed = re.findall(r"^\$ (qsup|kill)((?: [a-z0-9-]+)*)", section, re.MULTILINE)
    assert len(typed) >= 6
    for program, words in typed:
        first = words.split()[0]
        assert f'"{program}", "{first}"' in TOUR or f'"{first}"' in TOUR, (program, words)


def test_the_profiles_and_their_samples_are_those_that_there_are() -> None:
    section = README.partition("| profile | for |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()[2:]]
    told = {row[0].strip("`"): re.match(r"`(.+?)`: ", row[3]) for row in rows}
    assert set(told) == {path.stem for path in (ROOT / "configs/profiles").glob("*.toml")}
    guests = load(ROOT / "configs").guests
    for profile, sample in told.items():
        assert profile == "windows-virtio" or (sample and profile in guests[sample[1]].profile), profile


def test_the_example_of_a_guest_file_is_a_guest_file(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    for folder in ("guests", "profiles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "guests/web1.toml").write_text(block)
    (tmp_path / "guests/db1.toml").write_text("")
    (tmp_path / "profiles/linux.toml").write_text((ROOT / "configs/profiles/linux.toml").read_text())
    found = load(tmp_path)
    assert found.problems == ()
    assert found.guests["web1"].agent.enabled


def test_every_phase_and_every_event_mentioned_exists() -> None:
    phases = re.search(r"\*\*Phases\.\*\*(.*?)\n\n", README, re.DOTALL)
    assert phases is not None
    assert {word for word in re.findall(r"`([a-z-]+)`", phases[1]) if word != "qsup"} == {*Phase}
    for event in re.findall(r"`(GUEST_[A-Z_]+)`", README):
        assert event in {kind.value for kind in Kind}

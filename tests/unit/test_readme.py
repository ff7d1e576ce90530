"""README says nothing that is not so: generated parts, commands, targets, examples."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from qsup.alerts.alerts import DRAIN
from qsup.alerts.lane import PAUSES, WAITING
from qsup.alerts.message import Message
from qsup.alerts.webhook import BUSY
from qsup.cause import Cause
from qsup.cli.arguments import parse
from qsup.cli.verbs import VERBS
from qsup.events import Kind
from qsup.journal import voices
from qsup.journal.entry import FIELDS
from qsup.phase import Phase
from qsup.proc.follow import LINE
from qsup.spec.load import load
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOUR = (ROOT / "scripts/tour").read_text(encoding="utf-8")


def example(language: str, first: str) -> str:
    """The block of README in a language that begins with this line."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (block,) = (block for block in blocks if block.startswith(f"{first}\n"))
    return str(block)


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
    block = example("toml", "# /etc/qsup/guests/web1.toml")
    for folder in ("guests", "profiles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "guests/web1.toml").write_text(block)
    (tmp_path / "guests/db1.toml").write_text("")
    (tmp_path / "profiles/linux.toml").write_text((ROOT / "configs/profiles/linux.toml").read_text())
    found = load(tmp_path)
    assert found.problems == ()
    assert found.guests["web1"].agent.enabled


def test_the_example_of_access_is_one(tmp_path: Path) -> None:
    (tmp_path / "qsup.toml").write_text(example("toml", "[[access]]"))
    found = load(tmp_path)
    assert not found.problems
    assert [one.role for one in found.daemon.access] == ["operate", "observe"]


def test_the_example_of_an_alert_is_one(tmp_path: Path) -> None:
    (tmp_path / "qsup.toml").write_text(example("toml", "# /etc/qsup/qsup.toml"))
    found = load(tmp_path)
    assert found.problems == ()
    assert [alert.name for alert in found.daemon.alert] == ["ops"]


def test_the_samples_of_tables_are_such_without_their_comment_signs(tmp_path: Path) -> None:
    sample = (ROOT / "configs/qsup.toml").read_text(encoding="utf-8")
    text = re.sub(r"^# (\[[a-z\[\]]+$|[a-z]+ = )", r"\1", sample, flags=re.MULTILINE)
    (tmp_path / "qsup.toml").write_text(text)
    found = load(tmp_path)
    assert found.problems == ()
    assert [alert.name for alert in found.daemon.alert] == ["ops"]
    assert found.daemon.metrics.listen == "127.0.0.1:9177"


def test_the_example_of_metrics_is_one(tmp_path: Path) -> None:
    (tmp_path / "qsup.toml").write_text(example("toml", "[metrics]"))
    found = load(tmp_path)
    assert found.problems == ()
    assert found.daemon.metrics.listen == "127.0.0.1:9177"


def test_a_message_is_as_shown() -> None:
    shown = json.loads(example("json", "{"))
    made = Message(**{key: value for key, value in shown.items() if key not in ("subject", "text")})
    real = json.loads(made.json())
    assert list(real) == list(shown)
    assert real["text"].startswith(shown.pop("text").removesuffix("…"))
    assert shown.items() <= real.items()
    section = README.partition("### Alerts")[2].partition("\n### ")[0]
    assert set(re.findall(r"`(QSUP_[A-Z]+)`", section)) == set(made.environment())
    for told in (f"{WAITING} at most", f"have {DRAIN:g} seconds", "after {:g}, {:g} and {:g} seconds"):
        assert told.format(*PAUSES) in README
    for status in BUSY:
        assert str(status) in README


def test_every_phase_and_every_event_mentioned_exists() -> None:
    phases = re.search(r"\*\*Phases\.\*\*(.*?)\n\n", README, re.DOTALL)
    assert phases is not None
    assert {word for word in re.findall(r"`([a-z-]+)`", phases[1]) if word != "qsup"} == {*Phase}
    for event in re.findall(r"`((?:GUEST|ALERT)_[A-Z_]+)`", README):
        assert event in {kind.value for kind in Kind}


def test_the_journal_is_as_told() -> None:
    section = README.partition("### The journal")[2].partition("\n## ")[0]
    known = {"QSUP_GUEST", "QSUP_EVENT", "QSUP_HELPER", *FIELDS}
    assert set(re.findall(r"QSUP_[A-Z]+", section)) == known
    for kind, value in re.findall(r"QSUP_(CAUSE|PHASE|EVENT)=([\w-]+)", section):
        assert {"CAUSE": Cause, "PHASE": Phase, "EVENT": Kind}[kind](value)
    told = f"{voices.RATE:g} lines a second in the long run, {voices.BURST:g} at once, {LINE} bytes a"
    assert told in section

"""``qsup check`` on real files, with and without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qsup.cli.full import run

GOOD = '[machine]\naccel = "tcg"\n'


@pytest.fixture
def config(tmp_path: Path, qemu_binary: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory, and no daemon anywhere."""
    (tmp_path / "guests").mkdir()
    (tmp_path / "qsup.toml").write_text(f'qemu-binary = "{qemu_binary}"\n')
    monkeypatch.setenv("QSUP_SOCKET", str(tmp_path / "nobody.sock"))
    return tmp_path


def write(config: Path, **guests: str) -> None:
    for name, text in guests.items():
        (config / "guests" / f"{name}.toml").write_text(text)


def check(config: Path, *words: str) -> int:
    return run(["check", "--config", str(config), *words])


def test_files_without_problems_are_counted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, a=GOOD, b=GOOD)
    assert check(config) == 0
    assert capsys.readouterr().out == "2 guests, 0 problems\n"


def test_every_problem_is_shown_with_its_place_and_the_exit_code_is_1(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a="[cpu]\ncount = 0\n", b="typo = 1\n", c=GOOD)
    assert check(config) == 1
    out = capsys.readouterr().out
    assert "guests/a.toml:2: cpu.count" in out
    assert "guests/b.toml:1: typo: unknown key" in out
    assert out.endswith("3 guests, 2 problems\n")


def test_what_no_qemu_could_be_started_with_is_a_problem_too(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a=GOOD + '[qemu]\nargs = ["-daemonize"]\n')
    assert check(config) == 1
    assert "-daemonize" in capsys.readouterr().out


def test_what_the_host_lacks_is_told_but_fails_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a=GOOD + '[disk.root]\nfile = "/nonexistent.qcow2"\n')
    assert check(config) == 0
    assert (
        "a: not possible on this host: disk.root.file: /nonexistent.qcow2 does not exist"
        in capsys.readouterr().out
    )


def test_a_missing_qemu_is_something_that_the_host_lacks(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "qsup.toml").write_text('qemu-binary = "/nonexistent"\n')
    write(config, a=GOOD)
    assert check(config) == 0
    assert "install QEMU" in capsys.readouterr().out


def test_only_the_files_that_are_named_are_told_about(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a="typo = 1\n", b=GOOD)
    assert run(["check", str(config / "guests/b.toml")]) == 0
    assert capsys.readouterr().out == "1 guest, 0 problems\n"
    assert run(["check", str(config / "guests/a.toml")]) == 1


def test_programs_get_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, a="typo = 1\n")
    assert run(["--json", "check", "--config", str(config)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["guests"], len(answer["problems"]), answer["obstacles"]) == (1, 1, [])


def test_what_is_no_configuration_is_a_usage_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(config / "nothing") == 2
    assert "there is no directory" in capsys.readouterr().err
    assert run(["check", "--config", str(config), str(config / "guests/nothing.toml")]) == 2
    assert "is no guest file" in capsys.readouterr().err

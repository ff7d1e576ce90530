"""``qsup check``: problems of files and of the host, found without a daemon."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from qsup.cli import check as check_module
from qsup.cli import full
from qsup.errors import LaunchError
from qsup.spec.base import HostPath
from qsup.spec.model import DaemonConfig, GuestSpec, Qemu

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Host:
    """A configuration as it was read, and a host that lacks what a test says."""

    directory: Path
    problems_by_guest: dict[str, list[str]] = field(default_factory=dict)
    lacks: dict[str, list[str]] = field(default_factory=dict)
    guests: dict[str, GuestSpec] = field(default_factory=dict)

    @property
    def broken(self) -> set[str]:
        return set(self.problems_by_guest)

    @property
    def problems(self) -> list[str]:
        return [problem for problems in self.problems_by_guest.values() for problem in problems]

    @property
    def daemon(self) -> DaemonConfig:
        return DaemonConfig(qemu_binary=HostPath("/usr/bin/qemu"))

    def problems_of(self, name: str) -> list[str]:
        return self.problems_by_guest.get(name, [])

    def probe(self, binary: str) -> str:
        if binary == "/missing":
            raise LaunchError("there is no /missing; install QEMU or set qemu.binary")
        return binary


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "guests").mkdir()
    host = Host(tmp_path, guests={"web1": GuestSpec(name="web1"), "web2": GuestSpec(name="web2")})

    def load(directory: Path) -> Any:
        assert directory == tmp_path
        return host

    monkeypatch.setattr(check_module, "load", load)
    monkeypatch.setattr(check_module, "probe", host.probe)
    monkeypatch.setattr(check_module, "preflight", lambda spec, _facts: host.lacks.get(spec.name, []))
    return host


def test_files_without_problems_are_counted(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert full.run(["check", "--config", str(host.directory)]) == 0
    assert capsys.readouterr() == ("2 guests, 0 problems\n", "")


def test_every_problem_is_shown_and_the_exit_code_is_1(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.problems_by_guest = {
        "bad": ["bad.toml:1: memory.size: 3 is no size", "bad.toml:2: x: unknown \x1b key"]
    }
    assert full.run(["check", "--config", str(host.directory)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "bad.toml:1: memory.size: 3 is no size",
        "bad.toml:2: x: unknown \\x1b key",
        "3 guests, 2 problems",
    ]


def test_what_the_host_lacks_is_told_but_fails_nothing(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.lacks = {"web2": ["disk.root.file: /x is not there"]}
    host.guests["web1"] = GuestSpec(name="web1", qemu=Qemu(binary=HostPath("/missing")))
    assert full.run(["check", "--config", str(host.directory)]) == 0
    out = capsys.readouterr().out
    assert "web1: not possible on this host: there is no /missing; install QEMU" in out
    assert "web2: not possible on this host: disk.root.file: /x is not there\n" in out


def test_only_the_files_that_are_named_are_told_about(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.problems_by_guest = {"bad": ["bad.toml:1: no"], "worse": ["worse.toml:1: no"]}
    file = host.directory / "guests" / "worse.toml"
    assert full.run(["check", "--json", str(file)]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "guests": 1,
        "problems": ["worse.toml:1: no"],
        "obstacles": [],
    }


@pytest.mark.parametrize(
    "words", [["--config", "/nonexistent"], ["{}/guests/nope.toml"], ["--config", "{}", "x.toml"]]
)
def test_what_is_no_configuration_is_a_usage_error(
    host: Host, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert full.run(["check", *(word.format(host.directory) for word in words)]) == 2
    assert capsys.readouterr().err.startswith("qsup: ")

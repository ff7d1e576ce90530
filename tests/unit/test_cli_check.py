"""``qsup check`` on real files, with and without a daemon."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qsup.cli.full import run
from qsup.paths import Paths
from qsup.proc import lock
from tests.conftest import ROOT

GOOD = '[machine]\naccel = "tcg"\n'


@pytest.fixture
def config(tmp_path: Path, qemu_binary: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory, and no daemon anywhere."""
    (tmp_path / "guests").mkdir()
    (tmp_path / "qsup.toml").write_text(f'qemu-binary = "{qemu_binary}"\n')
    monkeypatch.setenv("QSUP_SOCKET", str(tmp_path / "nobody.sock"))
    monkeypatch.setattr("qsup.cli.check._daemon", lambda _: (None, "self"))
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


def test_what_alerts_lack_on_this_host_is_told_before_there_is_something_to_tell(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsup.preflight.alerts.PATH", "/nonexistent")
    alert = '[[alert]]\nname = "NAME"\nphases = ["gave-up"]\n'
    text = alert.replace("NAME", "a") + 'command = ["/bin/sh", "-c", "page"]\n'
    text += alert.replace("NAME", "b") + 'command = ["/nonexistent/page"]\nmail = ["root"]\n'
    text += 'webhook = "https://example.org"\nwebhook-token-file = "token"\n'
    (config / "qsup.toml").write_text(text)
    assert check(config) == 0
    *told, _ = (line.rpartition("/qsup.toml:")[2] for line in capsys.readouterr().out.splitlines())
    host = "not possible on this host"
    assert told == [
        f"8: alert[1].command[0]: {host}: /nonexistent/page is no program that can be run",
        f"11: alert[1].webhook-token-file: {host}: {config}/token does not exist",
        f"9: alert[1].mail: {host}: there is no sendmail in the PATH; install one, or set sendmail",
    ]
    assert check(config, "--strict") == 1
    assert check(config, "--strict", "--no-host") == 0
    (config / "qsup.toml").write_text(f'sendmail = "nobody"\n{text}')
    write(config, a=GOOD)
    capsys.readouterr()
    assert check(config, "--strict", str(config / "qsup.toml")) == 1
    assert f":1: sendmail: {host}: {config}/nobody is no program" in capsys.readouterr().out
    assert check(config, "--strict", str(config / "guests/a.toml")) == 0, "these are no alerts of its own"


def test_what_the_host_lacks_is_told_apart_and_fails_only_if_asked_to(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a=GOOD + '[disk.root]\nfile = "/nonexistent.qcow2"\n')
    told = "guests/a.toml:4: disk.root.file: not possible on this host: /nonexistent.qcow2 does not exist\n"
    assert check(config) == 0
    out = capsys.readouterr().out
    assert told in out
    assert out.endswith("1 guest, 0 problems, 1 obstacle on this host\n")
    assert check(config, "--strict") == 1
    assert told in capsys.readouterr().out
    assert check(config, "--strict", "--no-host") == 0
    assert capsys.readouterr().out == "1 guest, 0 problems\n"


def test_a_missing_qemu_is_told_once_and_the_rest_of_the_host_is_looked_at(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "qsup.toml").write_text('qemu-binary = "/nonexistent"\n')
    write(config, a=GOOD, b=GOOD + '[cdrom.cd]\nfile = "/nonexistent.iso"\n')
    assert check(config) == 0
    out = capsys.readouterr().out
    assert out.count("install QEMU") == 1
    assert "b.toml:4: cdrom.cd.file: not possible on this host: /nonexistent.iso does not exist" in out


def test_what_is_only_worth_knowing_is_a_note_and_never_fails(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a=GOOD + "[cpu]\ncount = 200\n")
    assert check(config, "--strict") == 0
    assert "a.toml:4: cpu.count: note: 200 vCPUs on " in capsys.readouterr().out


def test_an_image_of_two_guests_under_two_names_is_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "image").write_bytes(bytes(512))
    (tmp_path / "link").symlink_to("image")
    disk = '[disk.root]\nformat = "raw"\nfile = "{}"\n'
    write(config, a=GOOD + disk.format(tmp_path / "image"), b=GOOD + disk.format(tmp_path / "link"))
    assert check(config, "--strict") == 1
    told = f"{tmp_path}/link is {tmp_path}/image, the image of guest a (disk.root.file)"
    assert f"b.toml:5: disk.root.file: not possible on this host: {told}\n" in capsys.readouterr().out


def test_a_guest_that_runs_has_its_ports_itself(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Paths(config, tmp_path / "run", tmp_path / "state")
    monkeypatch.setattr("qsup.cli.check._daemon", lambda _: (daemon, "self"))
    daemon.guest_state("a").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        write(config, a=GOOD + f'[nic.lan]\nforward = ["tcp:127.0.0.1:{port}:22"]\n')
        lock_file = daemon.guest_state("a") / "lock"
        held = lock.acquire(lock_file)
        assert check(config, "--strict") == 0
        os.close(held)
        capsys.readouterr()
        assert check(config, "--strict") == 1
    assert "forward[0]: not possible on this host: tcp port" in capsys.readouterr().out
    assert len(list((tmp_path / "state/probe").iterdir())) == 1, "what was found out is kept for the daemon"


def test_only_the_files_that_are_named_are_told_about(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a="typo = 1\n", b=GOOD)
    assert run(["check", str(config / "guests/b.toml")]) == 0
    assert capsys.readouterr().out == "1 guest, 0 problems\n"
    assert run(["check", str(config / "guests/a.toml")]) == 1


def test_a_profile_a_template_and_a_drop_in_stand_for_their_guests(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "profiles").mkdir()
    (config / "profiles/slow.toml").write_text('[machine]\naccel = "tcg"\n')
    write(config, a='profile = ["slow"]\n', b=GOOD)
    (config / "guests/web@.toml").write_text(GOOD)
    (config / "guests/web@1.toml").symlink_to("web@.toml")
    for drop_in in ("web@.toml.d", "b.toml.d"):
        (config / "guests" / drop_in).mkdir()
        (config / "guests" / drop_in / "more.toml").write_text("[cpu]\ncount = 2\n")
    for file, guests in (
        ("profiles/slow.toml", "a"),
        ("guests/web@.toml", "web@1"),
        ("guests/web@1.toml", "web@1"),
        ("guests/web@.toml.d/more.toml", "web@1"),
        ("guests/b.toml.d/more.toml", "b"),
        ("qsup.toml", ""),
    ):
        assert run(["check", "--no-host", str(config / file)]) == 0
        assert (
            capsys.readouterr().out == f"{1 if guests else 0} guest{'' if guests else 's'}, 0 problems\n"
        ), file
    (config / "profiles/slow.toml").write_text("[machine]\ntypo = 1\n")
    assert run(["check", "--no-host", "--json", str(config / "profiles/slow.toml")]) == 1
    answer = json.loads(capsys.readouterr().out)
    (finding,) = answer["findings"]
    assert (answer["guests"], finding["key"], finding["line"]) == (1, "machine.typo", 2)


def test_a_changed_file_that_takes_another_guests_port_is_told_of_it(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nic = '[nic.lan]\nforward = ["tcp:127.0.0.1:8080:80"]\n'
    write(config, a=GOOD + nic, b=GOOD + nic, c=GOOD)
    # The finding is told of `b`; but it is `a` that has been changed.
    assert run(["check", "--no-host", str(config / "guests/a.toml")]) == 1
    assert "is used by guest a as well as b" in capsys.readouterr().out
    assert run(["check", "--no-host", str(config / "guests/c.toml")]) == 0


def test_files_of_several_directories_are_each_checked_in_their_own(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    (other / "guests").mkdir(parents=True)
    write(config, a=GOOD)
    write(other, a="typo = 1\n")
    assert run(["check", "--no-host", str(config / "guests/a.toml"), str(other / "guests/a.toml")]) == 1
    out = capsys.readouterr().out
    assert f"{other}/guests/a.toml:1: typo: unknown key" in out
    assert out.endswith("2 guests, 1 problem\n")


def test_files_are_named_as_one_finds_them_from_here(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(config, a="typo = 1\n")
    monkeypatch.chdir(config)
    assert run(["check", "--no-host", "guests/a.toml"]) == 1
    assert capsys.readouterr().out.startswith("guests/a.toml:1: typo: ")


def test_programs_get_json_of_a_stable_shape(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, a="typo = 1\n", b=GOOD + '[disk.root]\nfile = "/nonexistent"\n')
    assert run(["--json", "check", "--config", str(config)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["guests"], [*answer]) == (2, ["guests", "findings"])
    wrong, host = answer["findings"]
    assert wrong["message"].startswith("unknown key")
    assert {**wrong, "message": ""} == {
        "kind": "wrong", "guest": "a", "file": str(config / "guests/a.toml"), "line": 1, "key": "typo", "message": "",
    }  # fmt: skip
    assert host == {
        "kind": "host", "guest": "b", "file": str(config / "guests/b.toml"), "line": 4, "key": "disk.root.file",
        "message": "/nonexistent does not exist",
    }  # fmt: skip


def test_what_is_no_configuration_is_a_usage_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(config / "nothing") == 2
    assert "there is no directory" in capsys.readouterr().err
    assert run(["check", str(config / "guests/nothing.toml")]) == 2
    assert "there is no file" in capsys.readouterr().err
    (config / "notes.toml").write_text("")
    assert run(["check", "--config", str(config), str(config / "notes.toml")]) == 2
    assert "is no guest file, drop-in, profile or qsup.toml of" in capsys.readouterr().err


def test_the_hook_for_pre_commit_works_where_there_is_no_qemu_and_no_daemon(config: Path) -> None:
    hook = dict(
        re.findall(r"^[ -] (\w+): (.*)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), re.MULTILINE)
    )
    pattern = re.compile(hook["files"].strip("'"))
    write(config, good=GOOD, bad="typo = 1\n")
    (config / "qsup.toml").write_text('qemu-binary = "/nonexistent"\n')
    files = [str(path.relative_to(config)) for path in sorted(config.rglob("*.toml"))]
    assert files == [file for file in files if pattern.search(file)]
    assert not pattern.search("pyproject.toml")
    command, *words = hook["entry"].split()
    assert command == "qsup"
    script = [sys.executable, "-c", "from qsup.cli import main; raise SystemExit(main())"]
    environment = {"PATH": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path)}

    def commit(*changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*script, *words, *changed],
            cwd=config,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert (commit("guests/good.toml", "qsup.toml").returncode, commit("guests/good.toml").stderr) == (0, "")
    refused = commit(*files)
    assert refused.returncode == 1
    assert refused.stdout.startswith("guests/bad.toml:1: typo: unknown key")

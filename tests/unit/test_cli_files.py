"""``qsup new``, ``set`` and ``edit`` on real files: checked before they are written, and written whole."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import tomli

from qsup.argv.build import build
from qsup.cli.full import run
from qsup.spec.load import load
from tests.conftest import ROOT
from tests.golden.cases import CONTEXT, FACTS

Capture = pytest.CaptureFixture[str]

WEB = """\
# The web server.
profile = ["linux"]

[memory]
size = "1 GiB"   # enough
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory with a profile, the guest ``web1`` and the template ``w@``; no daemon anywhere."""
    for folder in ("guests", "profiles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "profiles/linux.toml").write_text("[rng]\nenabled = true\n")
    (tmp_path / "guests/web1.toml").write_text(WEB)
    (tmp_path / "guests/w@.toml").write_text('description = "number %i"\n[cpu]\ncount = 2\n')
    monkeypatch.setenv("QSUP_SOCKET", str(tmp_path / "nobody.sock"))
    return tmp_path


def qsup(config: Path, verb: str, *words: str) -> int:
    return run([verb, "--config", str(config), *words])


def editor(monkeypatch: pytest.MonkeyPatch, script: str, answers: str = "") -> None:
    """An editor that is a shell script, whose ``$1`` is the file; and what is answered to questions."""
    monkeypatch.setenv("VISUAL", f"sh -c {script!r} editor")
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))


# new


def test_a_new_guest_is_written_with_its_profile_and_its_keys(config: Path, capsys: Capture) -> None:
    words = ("--from", "linux", "--set", "memory.size=2 GiB", "--set", "disk.root.file=/a b.img")
    assert qsup(config, "new", "web2", *words) == 0
    assert "web2: is new" in capsys.readouterr().out
    text = (config / "guests/web2.toml").read_text()
    assert tomli.loads(text) == {
        "profile": ["linux"], "memory": {"size": "2 GiB"}, "disk": {"root": {"file": "/a b.img"}},
    }  # fmt: skip
    spec = load(config).guests["web2"]
    assert (spec.memory.size, spec.rng.enabled) == (2 << 30, True)


def test_what_is_suggested_in_comments_can_be_taken_as_it_is(config: Path) -> None:
    assert qsup(config, "new", "web2", "--set", "disk.root.file=/a") == 0
    path = config / "guests/web2.toml"
    suggested = [line for line in path.read_text().splitlines() if " = " in line and line.startswith("# ")]
    assert len(suggested) > 4
    taken = path.read_text()
    for line in suggested:
        taken = taken.replace(line, line.removeprefix("# "))
    path.write_text(taken)
    assert load(config).problems == ()


def test_what_a_profile_says_is_suggested_as_it_is(config: Path) -> None:
    (config / "profiles/big.toml").write_text('[memory]\nsize = "4 GiB"\n[cpu]\ncount = 2\n')
    assert qsup(config, "new", "web2", "--from", "big") == 0
    text = (config / "guests/web2.toml").read_text()
    assert '# memory.size = "4 GiB" ' in text
    assert "# cpu.count = 2 " in text
    assert '# machine.firmware = "bios" ' in text


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "configs/profiles").glob("*.toml")))
def test_every_profile_that_comes_with_qsup_is_a_start(profile: str, config: Path) -> None:
    shutil.copytree(ROOT / "configs/profiles", config / "profiles", dirs_exist_ok=True)
    disk = ("--set", "disk.root.file=images/new.qcow2", "--set", "disk.root.create=8 GiB")
    assert qsup(config, "new", "new1", "--from", profile, *disk, "--set", "nic.lan.type=user") == 0
    spec = load(config).guests["new1"]
    assert spec.profile == (profile,)
    build(spec, FACTS, CONTEXT)


def test_a_windows_11_is_two_profiles(config: Path) -> None:
    shutil.copytree(ROOT / "configs/profiles", config / "profiles", dirs_exist_ok=True)
    words = ("--from", "windows", "--from", "secure", "--set", "disk.root.file=/a")
    assert qsup(config, "new", "new1", *words) == 0
    spec = load(config).guests["new1"]
    assert (spec.machine.firmware, spec.tpm.enabled) == ("uefi-secure-boot", True)
    assert (spec.disk["root"].bus, spec.clock.base, spec.memory.merge) == ("sata", "localtime", False)


def test_the_schema_is_named_where_there_is_one(config: Path) -> None:
    (config / "guest.schema.json").write_text("{}")
    assert qsup(config, "new", "web2") == 0
    assert (config / "guests/web2.toml").read_text().startswith("#:schema ../guest.schema.json\n")


def test_nothing_is_overwritten_and_nothing_wrong_is_written(config: Path, capsys: Capture) -> None:
    assert qsup(config, "new", "web1") == 2
    assert "is there already" in capsys.readouterr().err
    assert (config / "guests/web1.toml").read_text() == WEB
    for words, told in (
        (("web2", "--from", "linus"), 'there is no profile "linus" in profiles/; did you mean "linux"?'),
        (("web2", "--set", "cpu.count=0"), "cpu.count: 0 is out of range"),
        (("web2", "--set", "after=['web3']"), 'there is no guest "web3"'),
        (("we/b", "--set", "cpu.count=1"), "is no name of a guest"),
        (("2web",), "cannot be a guest's name"),
    ):
        assert qsup(config, "new", *words) in (1, 2)
        assert told in capsys.readouterr().err
    assert sorted(os.listdir(config / "guests")) == ["w@.toml", "web1.toml"]


def test_an_instance_is_a_link_to_its_template(config: Path, capsys: Capture) -> None:
    assert qsup(config, "new", "w@1") == 0
    assert (config / "guests/w@1.toml").readlink() == Path("w@.toml")
    assert load(config).guests["w@1"].description == "number 1"
    assert qsup(config, "new", "w@2", "--set", "cpu.count=4") == 0
    assert load(config).guests["w@2"].cpu.count == 4
    assert load(config).guests["w@1"].cpu.count == 2
    assert qsup(config, "new", "w@3", "--from", "linux") == 2
    assert qsup(config, "new", "w@1") == 2


# set


def test_set_changes_the_key_alone_and_tells_what_follows(config: Path, capsys: Capture) -> None:
    path = config / "guests/web1.toml"
    path.chmod(0o640)
    assert qsup(config, "set", "web1", "memory.size=2 GiB", "restart.policy=always") == 0
    assert path.read_text() == WEB.replace("1 GiB", "2 GiB") + '\n[restart]\npolicy = "always"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert capsys.readouterr().out == (
        f"{path}\nweb1: memory.size: 1 GiB → 2 GiB (restart needed)\nweb1: restart.policy: on-failure → always\n"
    )
    assert qsup(config, "set", "web1", "restart=") == 0
    assert tomli.loads(path.read_text()) == tomli.loads(WEB.replace("1 GiB", "2 GiB"))


def test_set_as_json(config: Path, capsys: Capture) -> None:
    assert qsup(config, "set", "--json", "web1", "cpu.count=2") == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(config / "guests/web1.toml"),
        "changes": [{"guest": "web1", "change": "cpu.count: 1 → 2", "restart": True}],
    }


def test_set_refuses_what_makes_a_problem_anywhere(config: Path, capsys: Capture) -> None:
    (config / "guests/web2.toml").write_text('[disk.root]\nfile = "/x"\n')
    for words, told in (
        (("cpu.count=0",), "guests/web1.toml:8: cpu.count: 0 is out of range"),
        (("cpu.cuont=1",), "unknown key"),
        (("disk.root.file=/x",), "guests/web2.toml:2: disk.root.file: the image /x is used by guest web1"),
        (("profile=linux",), "must be an array of names"),
    ):
        assert qsup(config, "set", "web1", *words) == 1
        assert told in capsys.readouterr().err
    assert qsup(config, "set", "web1", "nonsense") == 2
    assert qsup(config, "set", "nobody", "cpu.count=1") == 3
    assert (config / "guests/web1.toml").read_text() == WEB
    assert not list(config.glob("guests/.*"))


def test_a_broken_file_can_be_mended_step_by_step(config: Path) -> None:
    (config / "guests/web1.toml").write_text("[cpu]\ncount = 0\n[memory]\nsize = '1 XB'\n")
    assert qsup(config, "set", "web1", "cpu.count=1") == 0
    assert len(load(config).problems) == 1
    assert qsup(config, "set", "web1", "memory.size=1 GiB") == 0
    assert load(config).problems == ()


def test_what_is_set_for_an_instance_or_a_template_goes_where_it_belongs(config: Path) -> None:
    (config / "guests/w@1.toml").symlink_to("w@.toml")
    (config / "guests/w@2.toml").symlink_to("w@.toml")
    assert qsup(config, "set", "w@1", "cpu.count=8") == 0
    assert (config / "guests/w@1.toml.d/override.toml").read_text() == "[cpu]\ncount = 8\n"
    assert qsup(config, "set", "w@", "memory.size=2 GiB") == 0
    specs = load(config).guests
    assert [(spec.cpu.count, spec.memory.size >> 30) for spec in (specs["w@1"], specs["w@2"])] == [
        (8, 2),
        (2, 2),
    ]


def test_a_file_that_is_a_link_is_changed_where_it_lies(config: Path) -> None:
    (config / "elsewhere.toml").write_text(WEB)
    (config / "guests/web3.toml").symlink_to("../elsewhere.toml")
    assert qsup(config, "set", "web3", "cpu.count=2") == 0
    assert (config / "guests/web3.toml").is_symlink()
    assert "count = 2" in (config / "elsewhere.toml").read_text()


# edit


def test_what_is_edited_is_checked_shown_and_saved(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, 'sed -i "s/1 GiB/2 GiB/" "$1"')
    assert qsup(config, "edit", "web1") == 0
    assert (config / "guests/web1.toml").read_text() == WEB.replace("1 GiB", "2 GiB")
    assert "web1: memory.size: 1 GiB → 2 GiB (restart needed)" in capsys.readouterr().out


def test_an_edit_of_a_template_tells_of_all_its_instances(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (config / f"guests/w@{number}.toml").symlink_to("w@.toml")
    editor(monkeypatch, 'sed -i "s/count = 2/count = 3/" "$1"')
    assert qsup(config, "edit", "w@") == 0
    out = capsys.readouterr().out
    assert "w@1: cpu.count: 2 → 3" in out
    assert "w@2: cpu.count: 2 → 3" in out


def test_problems_are_asked_about(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config / "guests/web1.toml"
    assert qsup(config, "set", "web1", "cpu.count=1") == 0
    editor(monkeypatch, 'sed -i -e "s/count = 0/count = 3/;t" -e "s/count = 1/count = 0/" "$1"', "what?\ne\n")
    assert qsup(config, "edit", "web1") == 0
    told = capsys.readouterr()
    assert "guests/web1.toml:8: cpu.count: 0 is out of range" in told.err
    assert told.out.count("(e)dit again, (d)iscard, or (s)ave anyway?") == 2
    assert load(config).guests["web1"].cpu.count == 3

    before = path.read_text()
    editor(monkeypatch, 'echo "typo = 1" > "$1"', "d\n")
    assert qsup(config, "edit", "web1") == 0
    assert path.read_text() == before

    editor(monkeypatch, 'echo "typo = 1" > "$1"', "save\n")
    assert qsup(config, "edit", "web1") == 0
    assert path.read_text() == "typo = 1\n"


def test_an_edit_that_is_cut_off_is_not_lost(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, 'echo "typo = 1" > "$1"', "")
    assert qsup(config, "edit", "web1") == 1
    assert (config / "guests/web1.toml").read_text() == WEB
    kept = Path(capsys.readouterr().err.partition("what was edited is kept in ")[2].split("\n")[0])
    assert kept.read_text() == "typo = 1\n"


def test_a_file_that_somebody_else_changes_meanwhile_is_left_to_him(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config / "guests/web1.toml"
    editor(monkeypatch, f'echo "autostart = true" > "$1"; echo "autostart = false" > {path}')
    assert qsup(config, "edit", "web1") == 1
    assert path.read_text() == "autostart = false\n"
    err = capsys.readouterr().err
    assert "has been changed by somebody else meanwhile" in err
    assert "what was edited is kept in" in err


def test_an_edit_without_a_change_an_editor_that_fails_and_none_at_all(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor(monkeypatch, "true")
    assert qsup(config, "edit", "web1") == 0
    assert capsys.readouterr().out == "nothing was changed\n"
    editor(monkeypatch, 'echo "x" > "$1"; exit 3')
    assert qsup(config, "edit", "web1") == 1
    assert "the editor ended with status 3" in capsys.readouterr().err
    monkeypatch.setenv("VISUAL", "/nonexistent/editor")
    assert qsup(config, "edit", "web1") == 2
    assert qsup(config, "edit", "nobody") == 3
    assert (config / "guests/web1.toml").read_text() == WEB

"""What an editor, an accident or somebody malicious can leave in the configuration directory: never an exception."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsup.spec.document import FILE_LIMIT
from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from tests.conftest import ROOT
from tests.unit.test_spec_load import configuration


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a = '\xff'", "not UTF-8"),
        (b"#" * (FILE_LIMIT + 1), "larger than 1 MiB"),
        (b"\xef\xbb\xbfautostart = 1\n", "guests/web1.toml:1: autostart: must be true or false"),
    ],
)
def test_a_file_that_is_no_text_is_a_problem(data: bytes, told: str, tmp_path: Path) -> None:
    configuration(tmp_path, {})
    (tmp_path / "guests/web1.toml").write_bytes(data)
    assert told in str(load(tmp_path).problems[0])


def test_a_directory_a_dangling_link_and_a_bad_name_are_problems(tmp_path: Path) -> None:
    configuration(tmp_path, {})
    (tmp_path / "guests/dir.toml").mkdir()
    (tmp_path / "guests/link.toml").symlink_to("nowhere")
    (tmp_path / "guests/a b.toml").write_text("")
    (tmp_path / "guests/.hidden.toml").write_text("nonsense")
    (tmp_path / "guests/web1.toml~").write_text("nonsense")
    found = load(tmp_path)
    assert len(found.problems) == 3
    assert found.guests == {}


@pytest.mark.parametrize("name", ["qsup.toml", "guests/web1.toml", "profiles/linux.toml"])
def test_a_fifo_is_told_and_not_waited_for(name: str, tmp_path: Path) -> None:
    configuration(tmp_path, {})
    os.mkfifo(tmp_path / name)
    assert [str(problem) for problem in load(tmp_path).problems] == [
        f"{name}: cannot be read: it is no regular file"
    ]


def test_no_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests/dir.toml").mkdir()
    (tmp_path / "guests/web1.toml").write_text("")
    before = os.listdir("/proc/self/fd")
    load(tmp_path)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", [b"w\xff.toml", b"w\n.toml", b"w\x1b[31m.toml"])
def test_the_name_of_a_file_cannot_harm_those_who_show_or_encode_it(name: bytes, tmp_path: Path) -> None:
    (tmp_path / "guests").mkdir()
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path / "guests"), name))).write_text("")
    (problem,) = load(tmp_path).problems
    assert str(problem).isprintable()
    assert "cannot be a guest's name" in msgspec.json.encode(str(problem)).decode()


def test_a_directory_that_cannot_be_listed_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "guests").write_text("no directory")
    assert [str(problem) for problem in load(tmp_path).problems] == [
        "guests: cannot be read: Not a directory"
    ]


def test_a_profile_that_cannot_be_read_is_told_before_anybody_takes_it(tmp_path: Path) -> None:
    found = configuration(tmp_path, {"web1": ""}, {"linux": "nonsense"})
    assert [problem.file for problem in found.problems] == ["profiles/linux.toml"]
    assert list(found.guests) == ["web1"]


def test_thousands_of_problems_are_cut_short(tmp_path: Path) -> None:
    found = configuration(tmp_path, {"web1": "\n".join(f"key{number} = 1" for number in range(20_000))})
    assert len(found.problems) == 50


def strings() -> list[str]:
    """Each kind of string that has a pattern, in a guest file that is right but for a newline at its end."""
    return [
        'description = "a{}"',
        '[boot]\nkernel = "/k"\ncmdline = "a{}"',
        '[machine]\ntype = "q35{}"',
        '[cpu]\nmodel = "max{}"',
        '[qemu]\nargs = ["-a{}"]',
        '[serial."a{}"]',
        '[nic.a]\nmac = "52:54:00:00:00:01{}"',
        '[nic.a]\nforward = ["tcp::80:80{}"]',
        '[nic.a]\ntype = "tap"\ninterface = "tap0{}"',
        '[nic.a]\ntype = "bridge"\nbridge = "br0{}"',
        '[disk.a]\nfile = "/a{}"',
    ]


@pytest.mark.parametrize("text", strings())
def test_a_newline_at_the_end_of_a_string_is_refused(text: str, tmp_path: Path) -> None:
    assert configuration(tmp_path, {"web1": text.format("")}).problems == ()
    found = configuration(tmp_path, {"web1": text.format("\\n")})
    assert found.broken == {"web1"}


def test_a_relative_configuration_directory_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration(tmp_path, {"web1": "disk.root.file = 'images/a'"})
    monkeypatch.chdir(tmp_path)
    found = load(Path())
    assert found.guests["web1"].disk["root"].file == f"{tmp_path}/images/a"
    assert found.files["web1"] == f"{tmp_path}/guests/web1.toml"


SAMPLE = (ROOT / "configs/guests/heartbeat.toml").read_bytes()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_file_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 20))
        text[at : at + length] = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"[", b'"', b"= 1", b"\n[a]"]))
        )
    root = tmp_path_factory.getbasetemp() / "damage"
    (root / "guests").mkdir(parents=True, exist_ok=True)
    (root / "guests/web1.toml").write_bytes(bytes(text))
    found = load(root)
    assert ("web1" in found.guests) != ("web1" in found.broken)


TOML_VALUES = st.recursive(
    st.sampled_from(
        [
            "1",
            "-1",
            "1.5",
            "inf",
            "nan",
            "true",
            '"x"',
            "''",
            "1979-05-27",
            "07:32:00",
            "1979-05-27T07:32:00Z",
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from(["file", "on", "size", "x"]), inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=4,
)

KEYS = (
    "disk.a", "disk.a.file", "disk.a.read-only", "nic.a", "nic.a.mac", "nic.a.forward", "serial.a", "restart.on",
    "restart.on.guest-panic", "restart.delay", "restart.limit", "memory.size", "cpu.count", "boot.order",
    "boot.kernel", "stop.methods", "qemu.args",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    key=st.sampled_from((*GuestSpec.__struct_encode_fields__, *KEYS)),
    value=TOML_VALUES,
)
def test_any_value_at_any_key_is_taken_or_explained(
    key: str, value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "values"
    root.mkdir(exist_ok=True)
    found = configuration(root, {"web1": f"{key} = {value}\n"})
    assert ("web1" in found.guests) != ("web1" in found.broken)
    assert all(problem.line == 1 and str(problem).isprintable() for problem in found.problems)

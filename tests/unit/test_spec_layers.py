"""Templates, drop-ins and specifiers: which guests there are, what wins, and which file is told of a problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsup.spec.load import Configuration, load


def written(root: Path, files: dict[str, str | None]) -> Configuration:
    """Write files, links (``-> TARGET``) and directories (None), and load them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir()
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
    return load(root)


def told(found: Configuration) -> list[str]:
    return [str(problem) for problem in found.problems]


def test_a_template_is_no_guest_and_its_instances_are(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "guests/web@.toml": '[memory]\nsize = "2 GiB"\n[cpu]\ncount = 2\n',
            "guests/web@1.toml": "-> web@.toml",
            "guests/web@2.toml": "[cpu]\ncount = 4\n",
            "guests/web@3.toml.d": None,
        },
    )
    assert told(found) == []
    assert list(found.guests) == ["web@1", "web@2", "web@3"]
    assert [(spec.memory.size >> 30, spec.cpu.count) for spec in found.guests.values()] == [
        (2, 2), (2, 4), (2, 2),
    ]  # fmt: skip
    files = [found.files[name] for name in found.guests]
    assert [Path(file).name for file in files] == ["web@1.toml", "web@2.toml", "web@.toml"]


def test_drop_ins_are_merged_after_the_file_in_lexical_order(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "guests/web1.toml": '[cpu]\ncount = 1\nmodel = "max"\n',
            "guests/web1.toml.d/20-more.toml": "[cpu]\ncount = 4\n",
            "guests/web1.toml.d/10-few.toml": '[cpu]\ncount = 2\n[memory]\nsize = "64 MiB"\n',
            "guests/web1.toml.d/.hidden.toml": "nonsense",
            "guests/web1.toml.d/30-note.txt": "nonsense",
        },
    )
    assert told(found) == []
    spec = found.guests["web1"]
    assert (spec.cpu.count, spec.cpu.model, spec.memory.size) == (4, "max", 64 << 20)


def test_what_is_more_specific_wins(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        "profiles/small.toml": "[cpu]\ncount = 1\n[panic]\nenabled = true\n",
        "guests/web@.toml": 'profile = ["small"]\nautostart = true\n[cpu]\ncount = 2\n',
        "guests/web@.toml.d/z.toml": '[cpu]\ncount = 3\n[memory]\nsize = "3 GiB"\n[rng]\nenabled = true\n',
        "guests/web@1.toml": '[memory]\nsize = "4 GiB"\n[agent]\nenabled = true\n',
        "guests/web@1.toml.d/a.toml": "[agent]\nenabled = false\n",
    }
    spec = written(tmp_path, files).guests["web@1"]
    assert (spec.cpu.count, spec.memory.size >> 30) == (3, 4)
    assert (spec.agent.enabled, spec.rng.enabled, spec.panic.enabled, spec.autostart) == (
        False, True, True, True,
    )  # fmt: skip


def test_drop_ins_of_a_template_win_over_it_in_instances_that_are_links(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "guests/web@.toml": "[cpu]\ncount = 2\n",
            "guests/web@.toml.d/more.toml": "[cpu]\ncount = 3\n",
            "guests/web@1.toml": "-> web@.toml",
        },
    )
    assert found.guests["web@1"].cpu.count == 3


def test_an_instance_may_have_a_file_and_no_template(tmp_path: Path) -> None:
    found = written(tmp_path, {"guests/web@1.toml": 'description = "%p number %i"\n'})
    assert told(found) == []
    assert found.guests["web@1"].description == "web number 1"


def test_specifiers_stand_for_the_name_in_every_string(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "profiles/web.toml": '[serial.console]\n[boot]\nkernel = "/k"\ncmdline = "host=%n 50%% at \\u0025i"\n',
            "guests/web@.toml": 'profile = ["%p"]\nafter = ["db@%i"]\n[disk.root]\nfile = "images/%p-%i.img"\n',
            "guests/web@1.toml": "-> web@.toml",
            "guests/db@1.toml": 'description = "%n"\n',
            "guests/alone.toml": 'description = "%p is %n"\n',
        },
    )
    assert told(found) == []
    spec = found.guests["web@1"]
    assert spec.after == ("db@1",)
    assert spec.disk["root"].file == f"{tmp_path}/images/web-1.img"
    assert spec.boot.cmdline == "host=web@1 50% at 1"
    assert found.guests["alone"].description == "alone is alone"


BAD: dict[str, tuple[dict[str, str | None], str]] = {
    "unknown specifier": (
        {"guests/a.toml": '\ndescription = "%x"\n'},
        'guests/a.toml:2: description: "%x" is no specifier; known are %i, %p, %n, %%; a percent sign itself is %%',
    ),
    "a percent sign at the end": (
        {"guests/a.toml": 'description = "100%"\n'},
        'guests/a.toml:1: description: "%" is no specifier; ',
    ),
    "an instance where there is none": (
        {"guests/a.toml": "profile = ['p']", "profiles/p.toml": "\n[disk.x]\nfile = '/%i'"},
        'profiles/p.toml:3: disk.x.file: "%i" is the instance of a template, and "a" is none',
    ),
    "in an array": ({"guests/a.toml": 'after = ["b", "%q"]'}, "guests/a.toml:1: after[1]: "),
    "in the name of a profile": ({"guests/a.toml": 'profile = ["%q"]'}, "guests/a.toml:1: profile[0]: "),
    "a wrong key in a drop-in": (
        {"guests/a.toml": "[cpu]\ncount = 1\n", "guests/a.toml.d/x.toml": "\n[cpu]\ncount = 0\n"},
        "guests/a.toml.d/x.toml:3: cpu.count: 0 is out of range",
    ),
    "a key that is wrong in the template": (
        {"guests/w@.toml": "[cpu]\ncount = 0\n", "guests/w@1.toml": "autostart = true", "guests/w@2.toml.d": None},
        "guests/w@.toml:2: cpu.count: 0 is out of range",
    ),
    "a key that is missing everywhere": (
        {"guests/a.toml": "[disk.x]\nbus = 'nvme'\n", "guests/a.toml.d/x.toml": "[cpu]\ncount = 1\n"},
        "guests/a.toml:1: disk.x.file: is missing",
    ),
    "a key that is missing in a table of a drop-in": (
        {"guests/a.toml": "", "guests/a.toml.d/x.toml": "[disk.x]\n"},
        "guests/a.toml.d/x.toml:1: disk.x.file: is missing",
    ),
    "a drop-in that is no TOML": (
        {"guests/a.toml": "", "guests/a.toml.d/x.toml": "nonsense"},
        "guests/a.toml.d/x.toml:1: not TOML: ",
    ),
    "a template that is no TOML": ({"guests/w@.toml": "nonsense"}, "guests/w@.toml:1: not TOML: "),
    "drop-ins without a file": (
        {"guests/a.toml.d/x.toml": ""},
        "guests/a.toml.d: there is no guests/a.toml that it could add to",
    ),
    "drop-ins of an instance without a template": (
        {"guests/w@1.toml.d": None},
        "guests/w@1.toml.d: there is no guests/w@1.toml that it could add to",
    ),
    "two at signs": ({"guests/a@b@c.toml": ""}, 'guests/a@b@c.toml: "a@b@c" cannot be a guest\'s name: '),
    "no prefix": ({"guests/@b.toml": ""}, 'guests/@b.toml: "@b" cannot be a guest\'s name: '),
    "a profile in a profile by a drop-in": (
        {"guests/a.toml": "", "guests/a.toml.d/x.toml": "profile = ['p']", "profiles/p.toml": "profile = []"},
        "profiles/p.toml:1: profile: a profile cannot name profiles",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_the_file_that_says_it_is_told(case: str, tmp_path: Path) -> None:
    files, expected = BAD[case]
    found = written(tmp_path, files)
    assert len(found.problems) == 1, told(found)
    assert told(found)[0].startswith(expected)


def test_a_problem_of_a_template_is_told_once_and_breaks_all_its_instances(tmp_path: Path) -> None:
    files: dict[str, str | None] = {f"guests/w@{number}.toml": "-> w@.toml" for number in range(3)}
    found = written(tmp_path, {"guests/w@.toml": "typo = 1\n", **files})
    assert told(found) == ["guests/w@.toml:1: typo: unknown key"]
    assert found.broken == {"w@0", "w@1", "w@2"}


def test_two_instances_that_claim_the_same_thing_clash(tmp_path: Path) -> None:
    files: dict[str, str | None] = {f"guests/w@{number}.toml": "-> w@.toml" for number in (1, 2)}
    found = written(tmp_path, {"guests/w@.toml": '[disk.root]\nfile = "/w.img"\n', **files})
    assert found.broken == {"w@2"}
    assert "is used by guest w@1 as well as w@2" in told(found)[0]


def test_a_template_is_no_guest_to_wait_for(tmp_path: Path) -> None:
    found = written(tmp_path, {"guests/w@.toml": "", "guests/a.toml": 'after = ["w@"]'})
    assert told(found) == ['guests/a.toml:1: after[0]: there is no guest "w@"']


def test_every_place_that_says_a_table_is_known_the_winner_first(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        {
            "profiles/p.toml": "[cpu]\ncount = 1\n",
            "guests/a.toml": 'profile = ["p"]\n\n[cpu]\ncount = 2\n',
            "guests/a.toml.d/x.toml": "cpu.count = 3\n",
        },
    )
    sources = found.sources["a"]
    assert sources.places(("cpu",)) == [
        ("guests/a.toml.d/x.toml", 1), ("guests/a.toml", 3), ("profiles/p.toml", 1),
    ]  # fmt: skip
    assert sources.places(("memory",)) == []

"""What only all guests together show."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from qsup.spec import check
from tests.unit.test_spec_load import configuration


def test_of_two_guests_that_clash_the_later_has_the_problem(tmp_path: Path) -> None:
    text = "[disk.root]\nfile = 'a.img'\n[nic.lan]\nmac = '52:54:00:00:00:01'\nforward = ['tcp:{}:8080:80']\n"
    found = configuration(tmp_path, {"a": text.format("127.0.0.1"), "b": text.format("")})
    assert found.broken == {"b"}
    told = "\n".join(str(problem) for problem in found.problems)
    assert (
        f"disk.root.file: the image {tmp_path}/a.img is used by guest a as well as b (a: disk.root.file)"
        in told
    )
    assert "nic.lan.mac: the address 52:54:00:00:00:01 is used by guest a as well" in told
    assert "nic.lan.forward[0]: tcp port 8080 is used by guest a as well" in told


def test_ports_on_different_addresses_and_read_only_images_are_shared(tmp_path: Path) -> None:
    text = "[disk.root]\nfile = 'a.img'\nread-only = true\n[nic.lan]\nforward = ['tcp:127.0.0.{}:8080:80']\n"
    assert configuration(tmp_path, {"a": text.format(1), "b": text.format(2)}).problems == ()


def test_a_circle_of_guests_is_shown(tmp_path: Path) -> None:
    found = configuration(
        tmp_path, {"a": "after = ['b']", "b": "after = ['c']", "c": "after = ['a']", "d": ""}
    )
    assert found.broken == {"a", "b", "c"}
    assert "a after b after c after a" in str(found.problems_of("a")[0])


def test_a_guest_may_wait_for_one_whose_file_is_broken(tmp_path: Path) -> None:
    found = configuration(tmp_path, {"a": "after = ['b']", "b": "nonsense"})
    assert found.broken == {"b"}


def test_a_circle_is_told_once_for_each_of_its_guests_and_not_to_those_who_wait_for_it(
    tmp_path: Path,
) -> None:
    guests = {"a": "after = ['b']", "b": "after = ['a']", "c": "after = ['a', 'c']", "d": "after = ['b']"}
    found = configuration(tmp_path, guests)
    assert [str(problem).partition(": ")[2] for problem in found.problems] == [
        "after[0]: a guest cannot wait for itself: a after b after a",
        "after[0]: a guest cannot wait for itself: b after a after b",
        "after[1]: a guest cannot wait for itself",
    ]
    assert list(found.guests) == ["d"]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("tcp::80:1", "tcp::80:1", True),
        ("tcp::80:1", "tcp:127.0.0.1:80:1", True),
        ("tcp:127.0.0.1:80:1", "tcp:0.0.0.0:80:1", True),
        ("tcp:127.0.0.1:80:1", "tcp:127.0.0.1:80:2", True),
        ("tcp:127.0.0.1:80:1", "tcp:127.0.0.1:080:2", True),
        ("tcp:127.0.0.1:80:1", "tcp:127.0.0.2:80:1", False),
        ("tcp::80:1", "udp::80:1", False),
        ("tcp::80:1", "tcp::81:1", False),
    ],
)
def test_a_host_port_is_forwarded_once(first: str, second: str, clash: bool, tmp_path: Path) -> None:
    text = "nic.lan.forward = ['{}']"
    apart = configuration(tmp_path, {"a": text.format(first), "b": text.format(second)})
    assert [len(apart.problems), apart.broken] == ([1, {"b"}] if clash else [0, set()])
    together = configuration(tmp_path, {"a": f"nic.lan.forward = ['{first}', '{second}']", "b": ""})
    assert len(together.problems) == clash


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("disk.a.file = '/x'", "disk.a = { file = '/x', read-only = true }", True),
        ("disk.a = { file = '/x', read-only = true }", "disk.a.file = '/x'", True),
        ("disk.a.file = '/x'", "cdrom.a.file = '/y/../x'", True),
        ("cdrom.a.file = '/x'", "cdrom.a.file = '/x'", False),
        ("nic.a = { type = 'tap', interface = 't0' }", "nic.a = { type = 'tap', interface = 't0' }", True),
        ("nic.a = { type = 'bridge', bridge = 'b0' }", "nic.a = { type = 'bridge', bridge = 'b0' }", False),
    ],
)
def test_what_is_written_or_held_has_one_guest(first: str, second: str, clash: bool, tmp_path: Path) -> None:
    assert configuration(tmp_path, {"a": first, "b": second}).broken == ({"b"} if clash else set())


def test_a_clash_in_a_profile_names_the_guests_that_take_it(tmp_path: Path) -> None:
    takes = "profile = ['lan']"
    found = configuration(tmp_path, {"a": takes, "b": takes}, {"lan": "nic.lan.mac = '52:54:00:00:00:01'"})
    assert [str(problem) for problem in found.problems] == [
        "profiles/lan.toml:1: nic.lan.mac: the address 52:54:00:00:00:01 is used by guest a as well as b "
        "(a: nic.lan.mac)"
    ]


def test_a_name_that_many_miss_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nearest(word: str, known: Collection[str]) -> str:
        asked.append(word)
        return f"; one of {len(known)}"

    monkeypatch.setattr(check, "nearest", nearest)
    found = configuration(tmp_path, {f"g{number}": "after = ['gone']" for number in range(20)})
    assert [problem.message for problem in found.problems] == ['there is no guest "gone"; one of 20'] * 20
    assert asked == ["gone"]


def test_of_many_who_want_one_port_each_is_told_once_even_in_a_long_chain(tmp_path: Path) -> None:
    guests = {
        f"g{number:04}": f"after = ['g{number + 1:04}']\nnic.lan.forward = ['tcp::80:80']"
        for number in range(999)
    }
    found = configuration(tmp_path, {**guests, "g0999": ""})
    assert len(found.problems) == 998
    assert all("is used by guest g0000 as well" in str(problem) for problem in found.problems)

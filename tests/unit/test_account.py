"""Who QEMU runs as: users, numbers of a range, and the words that make a process one of theirs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import LaunchError
from qsup.guest.users import Users, own
from qsup.preflight import account as module
from qsup.proc.account import Account, confined, nameless, of_user
from qsup.spec.model import GuestSpec
from qsup.spec.tables.qemu import Qemu, uid_range

WEB = Account("web", 70001, 70002, (36,))


def guest(name: str, user: str | None = None) -> GuestSpec:
    return GuestSpec(name=name, qemu=Qemu(user=user))


def test_a_command_drops_its_user_and_every_right_before_it_begins() -> None:
    words = shlex.join(confined(["/qemu", "-S"], WEB))
    assert words.endswith(
        "setpriv --reuid=70001 --regid=70002 --groups=36"
        " --inh-caps=-all --bounding-set=-all --no-new-privs -- /qemu -S"
    )
    assert "--clear-groups" in confined(["/qemu"], Account("x", 1, 1))
    assert confined(["/qemu", "-S"], None) == ["/qemu", "-S"]


def test_directories_are_emptied_while_it_is_still_root() -> None:
    words = confined(["/qemu"], WEB, ["/srv", "/home"])
    assert os.path.basename(words[0]) == "unshare"
    between = words[words.index("qsup") + 1 :]
    assert between[:3] == ["/home", "/srv", "--"]
    assert os.path.basename(between[3]) == "setpriv"


def test_users_are_found_by_name_and_by_number() -> None:
    root = of_user("root")
    assert (root.name, root.uid, root.gid) == ("root", 0, 0)
    assert of_user("0") == root
    assert of_user("70001") == nameless(70001)
    assert nameless(70001).gids >= {70001}
    with pytest.raises(LaunchError, match="there is no user no-such on this host"):
        of_user("no-such")


@given(
    uids=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(100, 110), max_size=8).filter(
        lambda uids: len({*uids.values()}) == len(uids)
    ),
    last=st.integers(99, 112),
)
def test_no_two_guests_ever_have_one_number(uids: dict[str, int], last: int) -> None:
    numbers = range(100, last + 1)
    found = own("a", uids, numbers)
    others = {uid for name, uid in uids.items() if name != "a"}
    if found is None:
        assert others >= {*numbers}
    else:
        assert found in numbers
        assert found not in others
        assert uids.get("a") not in numbers or found == uids["a"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("qsup-qemu", None), ("70001", None), ("70001-70003", range(70001, 70004)), ("9-8", range(9, 9))],
)
def test_a_range_is_two_numbers(text: str, numbers: range | None) -> None:
    assert uid_range(text) == numbers


def test_numbers_survive_the_daemon_and_are_given_on_when_a_guest_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    users = Users(tmp_path / "users.json")
    users.usual = "70001-70002"
    assert [_uid(users, guest(name)) for name in ("a", "b", "a")] == [70001, 70002, 70001]
    again = Users(tmp_path / "users.json")
    again.usual = users.usual
    assert _uid(again, guest("b")) == 70002
    with pytest.raises(LaunchError, match="each of the 2 users from 70001 to 70002 has a guest"):
        again.of(guest("c"))
    again.forget("a")
    assert _uid(again, guest("c")) == 70001
    assert _uid(again, guest("d", "70009")) == 70009
    assert again.of(guest("e", "root")) is None


def test_a_torn_record_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "users.json").write_text('{"uids": 3}')
    Users(tmp_path / "users.json")
    assert "cannot be used" in caplog.text
    assert (tmp_path / "users.json.unreadable-1").exists()


def test_the_usual_user_is_taken_only_where_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = Users(tmp_path / "users.json")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "USUAL", "no-such-user")
    assert users.of(guest("a")) is None
    monkeypatch.setattr(module, "USUAL", "nobody")
    assert _uid(users, guest("a")) == of_user("nobody").uid


def test_without_roots_rights_there_is_one_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users(tmp_path / "users.json")
    monkeypatch.setattr(os, "geteuid", lambda: of_user("nobody").uid)
    assert users.of(guest("a")) is None
    assert users.of(guest("a", "nobody")) is None
    for other in ("root", "70001-70002"):
        with pytest.raises(LaunchError, match=f"runs as its own user and not as {other}"):
            users.of(guest("a", other))


def _uid(users: Users, spec: GuestSpec) -> int:
    account = users.of(spec)
    assert account is not None
    return account.uid

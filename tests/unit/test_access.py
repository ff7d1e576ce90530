"""Who may do what: the rules by themselves, and the permissions of the socket that follow from them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from qsup.access.access import Access
from qsup.access.accounts import rules as rules_of
from qsup.access.door import Door, door, open_door
from qsup.access.rules import Grant, Rules, Who, lacks
from qsup.control.commands import COMMANDS, GuestConsole
from qsup.role import Right, Role
from qsup.spec.base import Account
from qsup.spec.tables.access import Access as Entry

FILE = "/etc/qsup/qsup.toml"
ALICE, BOB, WEB = 1001, 1002, 2001
RULES = Rules(
    {0},
    [
        Grant("one", Role.OPERATE, guests=("web*",), rights=(Right.CONSOLE,), gid=WEB),
        Grant("two", Role.OBSERVE, uid=ALICE),
    ],
    FILE,
)


def entry(user: str | None = None, group: str | None = None, **keys: Any) -> Entry:
    """An entry of the file."""
    return Entry(
        user=None if user is None else Account(user), group=None if group is None else Account(group), **keys
    )


ROOT, IN_WEB, BOTH, STRANGER = Who(0), Who(BOB, {WEB}), Who(ALICE, {WEB}), Who(77, {78})


@pytest.mark.parametrize(
    ("who", "need", "guest", "may"),
    [
        (ROOT, Role.ADMINISTER, None, True),
        (ROOT, Right.RAW_QMP, "db1", True),
        (IN_WEB, Role.OPERATE, "web1", True),
        (IN_WEB, Role.OBSERVE, "web1", True),
        (IN_WEB, Role.ADMINISTER, "web1", False),
        (IN_WEB, Role.OBSERVE, "db1", False),
        (IN_WEB, Role.OPERATE, None, False),
        (IN_WEB, Right.CONSOLE, "web1", True),
        (IN_WEB, Right.RAW_QMP, "web1", False),
        (BOTH, Role.OBSERVE, "db1", True),
        (BOTH, Role.OPERATE, "web1", True),
        (BOTH, Right.CONSOLE, "db1", False),
        (STRANGER, Role.OBSERVE, "web1", False),
        (Who(0, known=False), Role.OBSERVE, "web1", False),
    ],
)
def test_what_is_granted_adds_up_and_nothing_else_is(
    who: Who, need: Role | Right, guest: str | None, *, may: bool
) -> None:
    assert RULES.standing(who).has(need, guest) is may


def test_a_guest_of_which_nothing_is_granted_is_not_there() -> None:
    assert [RULES.standing(IN_WEB).sees(guest) for guest in ("web1", "db1")] == [True, False]
    assert RULES.standing(BOTH).sees_all
    assert not RULES.standing(STRANGER).grants


def test_a_refusal_tells_what_is_missing_and_where_it_is_granted() -> None:
    standing = RULES.standing(IN_WEB)
    assert lacks(standing, Role.OPERATE, ["web1"], FILE) is None
    assert lacks(standing, Right.RAW_QMP, ["web1"], FILE) == (
        "to web1: that takes the right raw-qmp, and no role includes it (its role with web1 is operate);"
        " [[access]] in /etc/qsup/qsup.toml grants it"
    )
    assert lacks(standing, Role.ADMINISTER, None, FILE) == (
        "to this host: that takes the role administer, and its role with all guests is none;"
        " [[access]] in /etc/qsup/qsup.toml grants it"
    )


def test_every_command_says_what_it_takes() -> None:
    needs = {name: command.NEEDS for name, command in COMMANDS.items()}
    assert {name for name, need in needs.items() if need in set(Right)} == {
        "guest-qmp",
        "guest-agent",
        "guest-console",
    }
    assert GuestConsole(name="a", read_only=True).needs is Role.OBSERVE
    assert {name for name, need in needs.items() if need is Role.ADMINISTER} == {
        "guest-drill",
        "reload-config",
        "alert-test",
    }
    for name in ("start", "stop", "restart", "reset", "kill", "pause", "resume", "maintenance"):
        assert needs[f"guest-{name}"] is Role.OPERATE


def test_the_usual_group_administers_unless_the_file_speaks_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsup.access.accounts.gid_of", {"qsup": 2002, "web": WEB}.get)
    usual, _ = rules_of([], FILE)
    assert usual.standing(Who(BOB, {2002})).has(Role.ADMINISTER, None)
    assert not usual.standing(Who(BOB, {2002})).has(Right.CONSOLE, "web1")
    spoken, unknown = rules_of([entry(group="qsup"), entry(group="nobody-here")], FILE)
    assert not spoken.standing(Who(BOB, {2002})).has(Role.OPERATE, "web1")
    assert [(one.number, one.key) for one in unknown] == [(1, "group")]


async def test_a_file_that_cannot_be_read_closes_the_door(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(FILE)
    await access.apply([entry(user="*")])
    assert access.rules.standing(STRANGER).sees("web1")
    await access.apply(None)
    assert not access.rules.standing(STRANGER).grants
    assert "only root and the daemon's user are obeyed" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "path", "told"),
    [
        (entry(), ("user",), "nobody would have"),
        (entry(user="a", group="b"), ("group",), "excludes user"),
        (entry(user="*", role=Role.OPERATE), ("role",), "no more than"),
        (entry(user="*", rights=(Right.CONSOLE,)), ("rights",), "none"),
        (entry(user="a", guests=()), ("guests",), "no guest"),
    ],
)
def test_an_entry_that_grants_nothing_or_too_much_is_refused(
    wrong: Entry, path: tuple[str, ...], told: str
) -> None:
    ((where, message),) = wrong.wrong()
    assert where == path
    assert told in message


def test_those_may_connect_to_whom_something_is_granted(tmp_path: Path) -> None:
    assert door(RULES) == Door(uids=(ALICE,), gids=(WEB,))
    assert door(Rules({0}, [], FILE)).is_closed
    assert door(Rules({0}, [Grant("all", Role.OBSERVE)], FILE)) == Door(everybody=True)
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

        def mode() -> int:
            return stat.S_IMODE(path.stat().st_mode)

        open_door(str(path), Door(everybody=True))
        assert mode() == 0o666
        open_door(str(path), Door())
        assert mode() == 0o600
        if os.geteuid() == 0:
            open_door(str(path), Door(gids=(WEB,)))
            assert (mode(), path.stat().st_gid) == (0o660, WEB)


def test_nothing_but_a_socket_is_given_permissions(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "control.sock"
    victim.touch(mode=0o600)
    link.symlink_to(victim)
    with pytest.raises(OSError, match="no socket any more"):
        open_door(str(link), Door(everybody=True))
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600

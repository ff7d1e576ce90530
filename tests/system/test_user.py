"""A daemon of an ordinary user's own, by that user's systemd: what works without any right of root's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.harness import IDLE
from tests.system.host import BIN, Host

NAME = "qsup-alice"
HOME = f"/home/{NAME}"
OWN = f"""{IDLE}
[disk.root]
file = "disk.img"
format = "raw"
[nic.lan]
type = "user"
forward = ["tcp:127.0.0.1:18080:80"]
[display]
type = "vnc"
"""


class User:
    """A user who is not logged in, and whose systemd runs all the same."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.uid = host.run("id", "-u", NAME).strip()

    def words(self, *words: str) -> tuple[str, ...]:
        """A command as this user."""
        runtime = f"/run/user/{self.uid}"
        clean = (
            "env",
            "-i",
            f"HOME={HOME}",
            f"XDG_RUNTIME_DIR={runtime}",
            "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
        )
        return ("setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *clean, *words)

    def run(self, *words: str) -> str:
        """Run a command, which has to succeed."""
        return self.host.run(*self.words(*words))

    def show(self, *names: str) -> list[str]:
        """Properties of the daemon's unit."""
        words = (f"--property={name}" for name in names)
        return self.run("systemctl", "--user", "show", "--value", *words, "qsupd").split()

    def qsup(self, *words: str, fails: bool = False) -> str:
        """Use the command."""
        act = self.host.box.fails if fails else self.host.run
        return act(*self.words(str(BIN / "qsup"), *words))

    def status(self, name: str) -> Any:
        """The facts of a guest."""
        (facts,) = json.loads(self.qsup("status", "--json", name))
        return facts

    def guest(self, name: str, text: str) -> None:
        """Write a guest's file."""
        file = f"{HOME}/.config/qsup/guests/{name}.toml"
        self.run("sh", "-c", 'printf %s "$2" >"$1"', "sh", file, text)


@pytest.fixture
def alice(units: Host) -> Iterator[User]:
    """The user, with a daemon."""
    # The interpreter may lie in root's home; the host is a copy.
    units.run("chmod", "o+x", "/root")
    units.run("useradd", "--create-home", NAME)
    units.run("loginctl", "enable-linger", NAME)
    user = User(units)
    units.until(lambda: units.show(f"user@{user.uid}.service", "ActiveState") == "active")
    user.run("mkdir", "-p", f"{HOME}/.config/qsup/guests")
    user.run("truncate", "--size=1M", f"{HOME}/.config/qsup/disk.img")
    user.run("systemctl", "--user", "enable", "--now", "qsupd")
    yield user
    units.run("loginctl", "disable-linger", NAME)
    units.run("systemctl", "stop", f"user@{user.uid}.service")
    units.run("userdel", "--remove", NAME)


def test_a_user_has_guests_of_their_own_that_outlive_their_daemon(alice: User) -> None:
    alice.guest("mine", OWN)
    alice.qsup("reload")
    alice.qsup("start", "mine")
    facts = alice.status("mine")
    pid = str(facts["pid"])
    assert alice.host.run("stat", "--format=%u", f"/proc/{pid}").strip() == alice.uid
    alice.host.until(lambda: alice.status("mine")["scope"] is not None)
    unit = alice.status("mine")["scope"]
    assert alice.run("systemctl", "--user", "is-active", unit).strip() == "active"

    alice.run("systemctl", "--user", "kill", "--signal=KILL", "--kill-who=main", "qsupd")
    alice.host.until(lambda: alice.show("NRestarts", "SubState") == ["1", "running"])
    assert str(alice.status("mine")["pid"]) == pid
    alice.run("systemctl", "--user", "restart", "qsupd")
    assert str(alice.status("mine")["pid"]) == pid
    alice.host.run("kill", "-9", pid)
    alice.host.until(lambda: str(alice.status("mine")["pid"]) not in (pid, "None"))
    assert alice.status("mine")["last-end"]["cause"] == "qemu-signal"
    alice.qsup("stop", "mine")


def test_what_needs_root_is_refused_with_what_to_do(alice: User) -> None:
    alice.guest("other", f'{IDLE}[qemu]\nuser = "root"\n')
    alice.guest("tapped", f'{IDLE}[nic.wan]\ntype = "bridge"\nbridge = "qsup-nobr"\n')
    alice.qsup("reload")
    assert "this daemon is not root's" in alice.qsup("start", "--wait", "other", fails=True)
    assert "there is no interface qsup-nobr" in alice.qsup("start", "--wait", "tapped", fails=True)

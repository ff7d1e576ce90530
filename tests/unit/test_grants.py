"""What QEMU's user is given: no more than it lacks, for no longer than a guest needs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qsup import acl
from qsup.errors import LaunchError
from qsup.guest.grants import FILE, Grants
from qsup.preflight.opened import BOTH, Opened
from qsup.proc.account import Account

USER = Account("70001", 70001, 70001)


@pytest.fixture
def guests(tmp_path: Path) -> Path:
    """The state directories of two guests; skips where there are no access lists."""
    probe = tmp_path / "probe"
    probe.touch()
    try:
        acl.write(str(probe), acl.given(acl.read(str(probe)), USER.uid, acl.READ))
    except OSError as error:
        pytest.skip(f"no access lists here: {error.strerror}")
    for name in ("one", "two"):
        (tmp_path / "guests" / name).mkdir(parents=True)
    return tmp_path / "guests"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "images/disk.img"
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    return path


def rights(path: Path) -> int:
    status = path.stat()
    return acl.rights(acl.read(str(path)), status.st_uid, status.st_gid, USER.uid, USER.gids)


def test_the_way_to_a_file_is_given_with_it_and_nothing_that_is_had(guests: Path, image: Path) -> None:
    image.parent.parent.chmod(0o755)
    grants = Grants(guests)
    grants.give("one", USER, [Opened(str(image), BOTH), Opened("/dev/null", BOTH), Opened("/nowhere", BOTH)])
    assert (rights(image), rights(image.parent)) == (BOTH, acl.ENTER)
    assert acl.read(str(image.parent.parent)) == acl.read("/usr"), "everybody may enter it"
    assert os.listxattr("/dev/null") == []
    grants.take_back("one")
    assert (rights(image), rights(image.parent)) == (0, 0)
    assert not (guests / "one" / FILE).exists()


def test_a_link_is_followed_to_what_it_names(guests: Path, image: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir(mode=0o700)
    (links / "disk").symlink_to(image)
    grants = Grants(guests)
    grants.give("one", USER, [Opened(str(links / "disk"), BOTH)])
    assert (rights(image), rights(image.parent), rights(links)) == (BOTH, acl.ENTER, acl.ENTER)
    grants.take_back("one")
    assert (rights(image), rights(image.parent), rights(links)) == (0, 0, 0)


def test_a_new_daemon_takes_back_what_the_last_one_has_given_and_no_earlier(
    guests: Path, image: Path
) -> None:
    before = acl.read(str(image))
    first = Grants(guests)
    for name in ("one", "two"):
        first.give(name, USER, [Opened(str(image), BOTH)])
    second = Grants(guests)
    assert second.guests() == {"one", "two"}
    second.take_back("one")
    assert rights(image) == BOTH
    third = Grants(guests)
    assert third.guests() == {"two"}
    third.take_back("two")
    assert acl.read(str(image)) == before


def test_a_record_that_its_place_does_not_take_goes_to_the_other(
    guests: Path, image: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, full, spare = acl.read(str(image)), tmp_path / "full", tmp_path / "spare"
    full.touch()
    Grants(full, spare).give("one", USER, [Opened(str(image), BOTH)])
    assert (rights(image), caplog.text) == (BOTH, "")
    again = Grants(guests, spare)
    again.give("one", USER, [Opened(str(image.parent), acl.ENTER)])
    Grants(guests, spare).take_back("one")
    assert acl.read(str(image)) == before
    assert Grants(guests, spare).guests() == set()
    Grants(full).give("one", USER, [Opened(str(image), BOTH)])
    assert (rights(image), "cannot be written down" in caplog.text) == (BOTH, True)


def test_what_was_given_holds_again_though_a_mode_was_set_meanwhile(guests: Path, image: Path) -> None:
    before = acl.read(str(image))
    Grants(guests).give("one", USER, [Opened(str(image), BOTH)])
    for path, mode in ((image, 0o600), (image.parent, 0o700)):
        path.chmod(mode)
        assert rights(path) == 0
    again = Grants(guests)
    again.renew()
    assert (rights(image), rights(image.parent)) == (BOTH, acl.ENTER)
    again.take_back("one")
    assert acl.read(str(image)) == before
    again.renew()
    assert acl.read(str(image)) == before


def test_users_come_and_go_in_any_order(guests: Path, image: Path) -> None:
    before, other = acl.read(str(image)), Account("70002", 70002, 70002)
    grants = Grants(guests)
    grants.give("one", USER, [Opened(str(image), BOTH)])
    grants.give("two", other, [Opened(str(image), acl.READ)])
    again = Grants(guests)
    again.take_back("one")
    assert acl.Entry(acl.USER, acl.READ, other.uid) in acl.read(str(image))
    again.take_back("two")
    assert acl.read(str(image)) == before


def test_another_file_in_the_place_is_left_alone(guests: Path, image: Path) -> None:
    grants = Grants(guests)
    grants.give("one", USER, [Opened(str(image), BOTH)])
    image.rename(image.with_name("moved"))
    image.touch(mode=0o600)
    mine = acl.given(acl.read(str(image)), USER.uid, acl.READ)
    acl.write(str(image), mine)
    grants.take_back("one")
    assert acl.read(str(image)) == tuple(sorted(mine))


def test_what_an_administrator_has_given_is_not_taken_back(guests: Path, image: Path) -> None:
    theirs = acl.given(acl.read(str(image)), USER.uid, acl.READ)
    acl.write(str(image), theirs)
    grants = Grants(guests)
    grants.give("one", USER, [Opened(str(image), BOTH)])
    grants.take_back("one")
    assert acl.read(str(image)) == tuple(sorted(theirs))


def test_a_file_that_qemu_would_make_is_there_before(guests: Path, tmp_path: Path) -> None:
    made = tmp_path / "paper"
    grants = Grants(guests)
    grants.give("one", USER, [Opened(str(made), BOTH, is_made=True)])
    assert rights(made) == BOTH
    grants.take_back("one")
    assert made.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LaunchError, match="/nowhere/paper cannot be made"):
        grants.give("one", USER, [Opened("/nowhere/paper", BOTH, is_made=True)])


def test_a_file_system_without_lists_is_told(
    guests: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(acl, "write", refuse)
    with pytest.raises(LaunchError, match=r"has no access lists, and user 70001, who runs QEMU, needs 'x'"):
        Grants(guests).give("one", USER, [Opened(str(image), BOTH)])


def test_a_torn_record_is_set_aside(guests: Path, caplog: pytest.LogCaptureFixture) -> None:
    (guests / "one" / FILE).write_bytes(b"[" * 5000)
    assert Grants(guests).guests() == set()
    assert "cannot be used" in caplog.text

"""Access lists: who may do what by them, and what a user has is taken away again without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.acl import (
    ENTER,
    GROUP,
    GROUP_OBJ,
    MASK,
    OTHER,
    READ,
    USER,
    USER_OBJ,
    WRITE,
    Acl,
    Entry,
    read,
    restored,
    rights,
    write,
)
from qsup.acl import given as giving

MODE_640: Acl = (Entry(USER_OBJ, 6), Entry(GROUP_OBJ, 4), Entry(OTHER, 0))
OWNER, TEAM, STRANGER = 10, 20, 30
ENTRIES = st.dictionaries(
    st.tuples(st.sampled_from((USER, GROUP)), st.integers(1, 5)), st.integers(0, 7), max_size=4
)


@st.composite
def lists(draw: st.DrawFn) -> Acl:
    """Any list that the kernel takes: one that names somebody has a mask."""
    three = [Entry(tag, draw(st.integers(0, 7))) for tag in (USER_OBJ, GROUP_OBJ, OTHER)]
    named = [Entry(tag, value, number) for (tag, number), value in draw(ENTRIES).items()]
    mask = [Entry(MASK, draw(st.integers(0, 7)))] if named else []
    return tuple(sorted([*three, *named, *mask]))


@pytest.mark.parametrize(
    ("acl", "uid", "gids", "expected"),
    [
        (MODE_640, OWNER, [], READ | WRITE),
        (MODE_640, STRANGER, [TEAM], READ),
        (MODE_640, STRANGER, [], 0),
        ((*MODE_640, Entry(USER, 7, STRANGER), Entry(MASK, 4)), STRANGER, [TEAM], READ),
        ((*MODE_640, Entry(USER, 0, STRANGER), Entry(MASK, 7)), STRANGER, [TEAM], 0),
        ((*MODE_640, Entry(GROUP, 6, 21), Entry(MASK, 7)), STRANGER, [21, TEAM], READ | WRITE),
        ((*MODE_640[:2], Entry(OTHER, 7), Entry(GROUP, 0, 21), Entry(MASK, 7)), STRANGER, [21], 0),
    ],
)
def test_a_list_is_read_as_the_kernel_reads_it(acl: Acl, uid: int, gids: list[int], expected: int) -> None:
    assert rights(acl, OWNER, TEAM, uid, gids) == expected


@given(acl=lists(), uid=st.integers(1, 5), more=st.integers(1, 7))
def test_what_is_given_is_had_and_taken_back_whole(acl: Acl, uid: int, more: int) -> None:
    changed = giving(acl, uid, more)
    assert rights(changed, OWNER, TEAM, uid, []) & more == more
    assert rights(changed, OWNER, TEAM, OWNER, []) == rights(acl, OWNER, TEAM, OWNER, [])
    assert sorted(restored(changed, acl, uid)) == sorted(acl)


@given(acl=lists(), uid=st.integers(1, 5), other=st.integers(6, 9))
def test_what_others_were_given_meanwhile_stays(acl: Acl, uid: int, other: int) -> None:
    changed = restored(giving(giving(acl, uid, READ), other, WRITE), acl, uid)
    assert rights(changed, OWNER, TEAM, other, []) & WRITE == (
        WRITE if not any(entry.tag == MASK for entry in acl) or _mask(acl) & WRITE else 0
    )
    assert Entry(USER, WRITE, other) in changed


@given(acl=lists(), first=st.integers(6, 9), second=st.integers(10, 13))
def test_of_two_who_come_and_go_in_turn_nothing_is_left(acl: Acl, first: int, second: int) -> None:
    both = giving(giving(acl, first, READ), second, WRITE)
    for early, late in ((first, second), (second, first)):
        left = restored(both, acl, early, last=False)
        assert rights(left, OWNER, TEAM, late, []) == rights(both, OWNER, TEAM, late, [])
        assert sorted(restored(left, acl, late)) == sorted(acl)


def _mask(acl: Acl) -> int:
    return next(entry.rights for entry in acl if entry.tag == MASK)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o751])
def test_the_kernel_takes_the_list_and_gives_the_mode_back(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    before = read(str(path))
    try:
        write(str(path), giving(before, 12345, READ | ENTER))
    except OSError as error:
        pytest.skip(f"the file system of {tmp_path} has no access lists: {error.strerror}")
    assert Entry(USER, READ | ENTER, 12345) in read(str(path))
    write(str(path), restored(read(str(path)), before, 12345))
    assert read(str(path)) == before
    assert os.listxattr(path) == []
    assert path.stat().st_mode & 0o777 == mode

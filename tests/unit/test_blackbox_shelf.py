"""The shelf of bundles: whole or not there, never overwritten, bounded, and not confused by what lies between them."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from qsup.blackbox import bundle
from qsup.blackbox import shelf as module
from qsup.blackbox.shelf import PIECE, Shelf, guest_of
from qsup.errors import QsupError
from qsup.spec.tables.keeping import Crashes
from qsup.units import Size
from tests.fakes.crashes import AT, crash


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "crashes", Crashes())


async def kept(shelf: Shelf, guest: str = "web1", at: float = AT, *, screen: int = 0) -> str:
    """Write a bundle with a screenshot of so many bytes; return its id."""
    picture = b"\x89PNG" + os.urandom(screen) if screen else None
    written = await shelf.write(crash(guest, at, screen=picture))
    assert written is not None
    return written.id


async def ids(shelf: Shelf, *guests: str) -> list[str]:
    found, more = await shelf.listing(guests or await shelf.guests())
    assert more == 0
    return [one.id for one in found]


async def test_a_bundle_is_a_directory_for_its_owner_only(shelf: Shelf) -> None:
    id_ = await kept(shelf, screen=100)
    directory = shelf.directory / id_
    assert stat.S_IMODE(shelf.directory.stat().st_mode) == stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = sorted(directory.iterdir())
    assert {file.name for file in files} > {"summary.md", "crash.json", "screen.png", "stderr.txt"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert id_.startswith("web1-20261125T014512Z-")


async def test_what_was_written_can_be_read(shelf: Shelf) -> None:
    id_ = await kept(shelf, screen=1000)
    found = await shelf.find(id_)
    assert found.facts is not None
    assert (found.guest, found.at, found.facts.cause, found.problem) == ("web1", AT, "qemu-signal", None)
    assert found.directory == str(shelf.directory / id_)
    assert found.files["screen.png"] == 1004
    assert (await shelf.summary(id_)).startswith("# web1: qemu-signal")
    assert (await shelf.piece(id_, "screen.png", 0, 4)) == b"\x89PNG"
    assert await shelf.piece(id_, "screen.png", 1004) == b""


async def test_a_large_file_comes_in_pieces(shelf: Shelf) -> None:
    id_ = await kept(shelf, screen=3 * PIECE)
    data = b""
    while piece := await shelf.piece(id_, "screen.png", len(data)):
        assert len(piece) <= PIECE
        data += piece
    assert data == (shelf.directory / id_ / "screen.png").read_bytes()


async def test_bundles_of_one_moment_are_all_kept(shelf: Shelf) -> None:
    made = await asyncio.gather(*(kept(shelf) for _ in range(10)))
    assert len(set(made)) == 10
    assert set(await ids(shelf)) == set(made)


async def test_a_bundle_is_never_overwritten(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await kept(shelf)
    offered = iter([first, first, first[:-4] + ("0000" if first[-4:] != "0000" else "0001")])
    monkeypatch.setattr(bundle, "new_id", lambda *_: next(offered))
    second = await kept(shelf)
    assert second != first
    assert set(await ids(shelf)) == {first, second}


async def test_of_one_guest_the_newest_stay_and_others_are_not_touched(shelf: Shelf) -> None:
    shelf.limits = Crashes(per_guest=2)
    other = await kept(shelf, "db1", AT - 1000)
    first, second = await kept(shelf), await kept(shelf, at=AT + 1)
    written = await shelf.write(crash(at=AT + 2))
    assert written is not None
    assert written.gone == (first,)
    assert str(written).endswith(f"`qsup crash show {written.id}`; removed to make room: {first}")
    assert await ids(shelf) == [written.id, second, other]
    assert await ids(shelf, "web1") == [written.id, second]


async def test_the_room_that_all_take_is_bounded_and_the_oldest_go_first(shelf: Shelf) -> None:
    shelf.limits = Crashes(size=Size.parse("1 MiB"))
    await kept(shelf, "a", AT, screen=100_000)
    second = await kept(shelf, "b", AT + 1, screen=440_000)
    third = await kept(shelf, "c", AT + 2, screen=440_000)
    assert await ids(shelf) == [third, second]


async def test_what_is_older_than_one_that_had_to_go_goes_too_though_it_would_fit(shelf: Shelf) -> None:
    shelf.limits = Crashes(size=Size.parse("1 MiB"))
    await kept(shelf, "a", AT)
    await kept(shelf, "b", AT + 1, screen=440_000)
    third = await kept(shelf, "c", AT + 2, screen=800_000)
    assert await ids(shelf) == [third]


async def test_a_screenshot_that_does_not_fit_is_left_out(shelf: Shelf) -> None:
    shelf.limits = Crashes(size=Size.parse("1 MiB"))
    id_ = await kept(shelf, screen=2 << 20)
    assert "screen.png" not in (await shelf.find(id_)).files
    text = await shelf.summary(id_)
    assert "`screen.png`" not in text
    assert "a screenshot of 2097156 bytes was left out, for crashes.size is 1 MiB" in text


async def test_the_newest_stays_even_if_the_clock_went_back(shelf: Shelf) -> None:
    shelf.limits = Crashes(per_guest=1)
    old = await kept(shelf, at=AT)
    new = await kept(shelf, at=AT - 3600)
    assert await ids(shelf) == [new]
    assert old != new


async def test_with_none_to_be_kept_none_is_written(shelf: Shelf) -> None:
    shelf.limits = Crashes(per_guest=0)
    assert await shelf.write(crash()) is None
    assert not shelf.directory.exists()


async def test_lower_limits_hold_from_the_next_tidying_on(shelf: Shelf) -> None:
    made = [await kept(shelf, at=AT + number) for number in range(3)]
    shelf.limits = Crashes(per_guest=1)
    assert set(await shelf.tidy()) == set(made[:2])
    assert await shelf.tidy() == ()


async def test_what_a_daemon_that_died_left_unfinished_is_removed(shelf: Shelf) -> None:
    id_ = await kept(shelf)
    unfinished = shelf.directory / f".new-{id_}"
    unfinished.mkdir()
    (unfinished / "summary.md").write_text("# half")
    (shelf.directory / "note.txt").write_text("an operator's own")
    assert await ids(shelf) == [id_]
    assert await shelf.tidy() == ()
    assert sorted(os.listdir(shelf.directory)) == ["note.txt", id_]


async def test_a_bundle_is_written_though_nobody_waits_for_it_any_more(shelf: Shelf) -> None:
    asked = asyncio.create_task(shelf.write(crash()))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await shelf.tidy() == ()
    assert len(await ids(shelf)) == 1


async def test_where_there_is_nothing_there_is_nothing_to_tidy_or_to_list(shelf: Shelf) -> None:
    assert await shelf.tidy() == ()
    assert await shelf.guests() == frozenset()
    assert await shelf.listing(["web1"]) == ([], 0)
    with pytest.raises(QsupError, match="there is no bundle 'latest'"):
        await shelf.find("latest")


async def test_a_disk_that_does_not_take_it_is_told_and_leaves_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    id_ = await kept(shelf)
    monkeypatch.setattr(module, "_write_files", full)
    with pytest.raises(QsupError, match=r"web1: its bundle cannot be written .*No space left"):
        await shelf.write(crash())
    assert os.listdir(shelf.directory) == [id_]


async def test_older_bundles_that_cannot_be_removed_do_not_lose_the_new_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    shelf.limits = Crashes(per_guest=1)
    old = await kept(shelf)
    monkeypatch.setattr("qsup.blackbox.shelf.shutil.rmtree", refuses)
    new = await kept(shelf, at=AT + 1)
    assert await ids(shelf) == [new, old]
    assert "cannot be removed" in caplog.text


async def test_a_broken_bundle_is_listed_with_what_is_wrong(shelf: Shelf) -> None:
    torn, newer, whole = [await kept(shelf, at=AT + number) for number in range(3)]
    (shelf.directory / torn / "crash.json").write_text('{"id": ')
    facts = json.loads((shelf.directory / newer / "crash.json").read_text())
    (shelf.directory / newer / "crash.json").write_text(json.dumps({**facts, "version": 99}))
    (shelf.directory / "web1-20261125T014512Z-0000").mkdir()
    found = {one.id: one for one in (await shelf.listing(["web1"]))[0]}
    assert len(found) == 4
    assert found[whole].problem is None
    assert found[torn].facts is None
    assert "cannot be used" in str(found[torn].problem)
    assert "newer qsup" in str(found[newer].problem)
    assert "No such file" in str(found["web1-20261125T014512Z-0000"].problem)
    assert found[torn].at == int(AT), "as its name tells"
    assert (await shelf.summary(torn)).startswith("# web1")


async def test_more_than_are_listed_are_counted(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [await kept(shelf, at=AT + number) for number in range(4)]
    monkeypatch.setattr(module, "LISTED", 3)
    found, more = await shelf.listing(["web1"])
    assert [one.id for one in found] == made[:0:-1]
    assert more == 1


async def test_a_bundle_is_found_by_id_guest_beginning_and_as_the_latest(shelf: Shelf) -> None:
    old, new = await kept(shelf), await kept(shelf, at=AT + 3600)
    other = await kept(shelf, "web10", at=AT + 7200)
    for word, meant in {
        old: old,
        "web1": new,
        "web10": other,
        "latest": other,
        old[:20]: old,
        "web10-": other,
    }.items():
        assert (await shelf.find(word)).id == meant, word
    with pytest.raises(QsupError, match=f"the beginning of 2 bundles: {new}, {old}"):
        await shelf.find("web1-")
    for word in ("", "nothing", "../web1"):
        with pytest.raises(QsupError, match="there is no bundle"):
            await shelf.find(word)


@pytest.mark.parametrize(
    "file", ["", ".", "..", "../x", "a/b", "/etc/passwd", "nothing", "a\0b", "link", "fifo", "x" * 999]
)
async def test_only_plain_files_of_a_bundle_can_be_read(shelf: Shelf, file: str) -> None:
    id_ = await kept(shelf)
    (shelf.directory / id_ / "link").symlink_to("/etc/passwd")
    os.mkfifo(shelf.directory / id_ / "fifo")
    with pytest.raises(QsupError, match="there is no"):
        await shelf.piece(id_, file, 0)
    with pytest.raises(QsupError, match="there is no"):
        await shelf.piece("../crashes/" + id_, "summary.md", 0)


async def test_no_link_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    id_ = await kept(shelf)
    (shelf.directory / "web1-20261125T014512Z-ffff").symlink_to(elsewhere)
    (shelf.directory / id_ / "deep").symlink_to(elsewhere / "deep")
    shelf.limits = Crashes(per_guest=0)
    assert await shelf.tidy() == (id_,)
    assert (elsewhere / "deep").is_dir()
    linked = Shelf(tmp_path / "linked", Crashes())
    linked.directory.symlink_to(elsewhere)
    with pytest.raises(QsupError, match="cannot be written"):
        await linked.write(crash())
    with pytest.raises(QsupError, match="cannot be removed"):
        await linked.tidy()
    assert os.listdir(elsewhere) == ["deep"]


async def test_the_loop_turns_while_a_bundle_is_written(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, turns = asyncio.get_running_loop(), asyncio.Event()

    def slowly(self: Shelf, _: object) -> None:
        asyncio.run_coroutine_threadsafe(turns.wait(), loop).result(5)

    monkeypatch.setattr(Shelf, "_write", slowly)
    writing = asyncio.ensure_future(shelf.write(crash()))
    await asyncio.sleep(0)
    turns.set()
    await writing


def test_the_guest_of_a_bundle_is_in_its_name() -> None:
    assert guest_of("a-b-20261125T014512Z-1a2b") == "a-b"
    assert guest_of("nothing") == ""

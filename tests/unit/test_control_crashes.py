"""Bundles over the control socket and in the command, from a shelf on disk and a fake supervisor in front of it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from qsup.blackbox import shelf as module
from qsup.blackbox.shelf import PIECE, Shelf
from qsup.spec.tables.keeping import Crashes
from tests.fakes.control_bench import Bench, running_bench
from tests.fakes.crashes import AT, crash
from tests.unit.test_cli_command import Run, command, environment, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as bench:
        bench.guests.crashes = Shelf(tmp_path / "crashes", Crashes())
        yield bench


async def kept(bench: Bench, guest: str = "web1", at: float = AT, **facts: Any) -> str:
    written = await bench.guests.crashes.write(crash(guest, at, **facts))
    assert written is not None
    return written.id


async def answer(bench: Bench, command: str, **arguments: Any) -> Any:
    client = await bench.client()
    got = await client.ask(command, **arguments)
    return got.get("return", got.get("error"))


async def qsup(bench: Bench, *words: str) -> Run:
    # The server runs in this loop, so the command is waited for in a thread.
    return await asyncio.to_thread(run, *words, QSUP_SOCKET=bench.path)


async def test_all_bundles_are_listed_the_newest_first_with_what_matters(bench: Bench) -> None:
    old, new = await kept(bench), await kept(bench, "gone", AT + 60)
    first, second = await answer(bench, "query-crashes")
    assert (first["id"], second["id"]) == (new, old)
    assert second["guest"] == "web1"
    assert second["cause"] == "qemu-signal"
    assert second["status"] == "signal 11 (SIGSEGV)"
    assert second["at"].startswith("2026-11-2")
    assert second["problem"] is None
    assert [one["id"] for one in await answer(bench, "query-crashes", names=["web*"])] == [old]
    assert await answer(bench, "query-crashes", names=["db1"]) == []


async def test_a_name_that_no_guest_and_no_bundle_has_is_a_mistake(bench: Bench) -> None:
    for name in ("nobody", "nobody*"):
        assert (await answer(bench, "query-crashes", names=[name]))["class"] == "GuestNotFound"


async def test_one_bundle_is_told_in_full(bench: Bench) -> None:
    id_ = await kept(bench)
    whole = await answer(bench, "query-crash", id="latest")
    assert whole["id"] == id_
    assert whole["core-file"] == "/core.4711"
    assert whole["panic"] == "Kernel panic - not syncing"
    assert whole["directory"].endswith(f"/crashes/{id_}")
    assert whole["files"]["summary.md"] > 100
    text = await answer(bench, "query-crash", id=id_, format="text")
    assert text["text"].startswith("# web1: qemu-signal\n")
    assert (await answer(bench, "query-crash", id="x"))["desc"].startswith("there is no bundle 'x'")


async def test_a_broken_bundle_is_told_with_its_problem(bench: Bench) -> None:
    id_ = await kept(bench)
    (bench.guests.crashes.directory / id_ / "crash.json").write_text("{")
    (one,) = await answer(bench, "query-crashes")
    assert one["cause"] is None
    assert "cannot be used" in one["problem"]
    assert (await answer(bench, "query-crash", id=id_))["files"]["crash.json"] == 1
    assert "cannot be used" in (await qsup(bench, "crashes")).out
    assert (await qsup(bench, "crash", "show", id_)).out.startswith("# web1")


async def test_a_file_can_be_read_in_pieces(bench: Bench) -> None:
    id_ = await kept(bench, screen=b"\x89PNG" + os.urandom(PIECE))
    first = await answer(bench, "crash-read", id=id_, file="screen.png")
    assert len(base64.b64decode(first["data"])) == PIECE
    second = await answer(bench, "crash-read", id=id_, file="screen.png", offset=PIECE)
    assert (second["offset"], len(base64.b64decode(second["data"]))) == (PIECE, 4)
    assert (await answer(bench, "crash-read", id=id_, file="screen.png", offset=PIECE + 4))["data"] == ""
    for id2, file in ((id_, "../../control.sock"), ("../" + id_, "summary.md"), (id_, "nothing")):
        assert "there is no" in (await answer(bench, "crash-read", id=id2, file=file))["desc"]


async def test_crashes_lists_a_line_a_bundle_and_says_what_it_leaves_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await qsup(bench, "crashes") == Run(0, "no crashes\n", "")
    old = await kept(bench, detail="it said \x1b[31m")
    new = await kept(bench, "db1", AT + 1)
    listed = await qsup(bench, "crashes")
    header, first, second = listed.out.splitlines()
    assert (listed.code, listed.err) == (0, "")
    assert header.split() == ["ID", "WHEN", "CAUSE", "DETAIL"]
    assert first.startswith(new)
    assert second.startswith(old)
    assert second.endswith(r"qemu-signal  it said \x1b[31m")
    assert (await qsup(bench, "crashes", "web*")).out.count("\n") == 2
    assert json.loads((await qsup(bench, "crashes", "--json", "db1")).out)[0]["id"] == new
    assert (await qsup(bench, "crashes", "nobody")).code == 3
    monkeypatch.setattr(module, "LISTED", 1)
    assert (await qsup(bench, "crashes")).err == "qsup: 1 older ones are not listed\n"


async def test_crash_show_prints_the_summary_or_the_facts(bench: Bench) -> None:
    id_ = await kept(bench, consoles={"console": b"\x1b]0;owned\x07"})
    for word in (id_, "web1", "latest", id_[:12]):
        shown = await qsup(bench, "crash", "show", word)
        assert (shown.code, shown.err) == (0, "")
        assert shown.out.startswith("# web1: qemu-signal\n")
        assert "\x1b" not in shown.out
    facts = json.loads((await qsup(bench, "crash", "show", "--json", "web1")).out)
    assert facts["id"] == id_
    assert json.loads((await qsup(bench, "--json", "crash", "show", "web1")).out) == facts
    missing = await qsup(bench, "crash", "show", "web2")
    assert missing.code == 1
    assert "qsup crashes" in missing.err


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


async def test_crash_export_writes_one_archive_that_holds_all_files(bench: Bench, tmp_path: Path) -> None:
    id_ = await kept(bench, screen=b"\x89PNG" + os.urandom(2 * PIECE))
    target = tmp_path / "out.tar.gz"
    done = await qsup(bench, "crash", "export", "web1", "-o", str(target))
    assert done == Run(0, f"{target}\n", "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    directory = bench.guests.crashes.directory / id_
    assert members(target.read_bytes()) == {
        f"{id_}/{file.name}": file.read_bytes() for file in directory.iterdir()
    }
    again = await qsup(bench, "crash", "export", "web1", "-o", str(target))
    assert again.code == 1
    assert "is there already" in again.err
    told = json.loads((await qsup(bench, "crash", "export", "web1", "--json", "-o", f"{target}.2")).out)
    assert told == {"id": id_, "file": f"{target}.2"}


async def test_an_archive_that_cannot_be_made_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(bench)
    target = tmp_path / "out.tar.gz"
    assert (await qsup(bench, "crash", "export", "nothing", "-o", str(target))).code == 1
    assert (await qsup(bench, "crash", "export", "web1", "-o", str(tmp_path / "no/where"))).code == 1
    assert (await qsup(bench, "crash", "export", "web1", "-o", "-", "--json")).code == 2

    async def torn(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Shelf, "piece", torn)
    failed = await qsup(bench, "crash", "export", "web1", "-o", str(target))
    assert failed.code == 1
    assert not target.exists()


async def test_crash_export_can_write_to_standard_output(bench: Bench) -> None:
    id_ = await kept(bench)
    process = await asyncio.create_subprocess_exec(
        *command("crash", "export", "web1", "-o", "-"),
        env=environment(QSUP_SOCKET=bench.path),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert f"{id_}/summary.md" in members(out)

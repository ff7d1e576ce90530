"""Files that are made before QEMU starts: real files, scripts in the place of qemu-img."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from qsup.argv.files import CopyFile, CopySecret, CreateImage, WriteFile
from qsup.errors import LaunchError
from qsup.guest import prepare as preparing
from qsup.guest.prepare import prepare, qemu_img
from qsup.proc.process import ENVIRONMENT

SOURCE = ("disk", "root")


def tool(directory: Path, script: str) -> str:
    """A directory with a `qemu-img`; returns the QEMU that is said to lie there."""
    path = directory / "qemu-img"
    path.write_text(f"#!/bin/sh\nfor last; do case $last in */*) file=$last;; esac; done\n{script}\n")
    path.chmod(0o755)
    return str(directory / "qemu-system-x86_64")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    return directory


async def test_a_copy_is_whole_private_and_made_once(images: Path) -> None:
    (images / "template").write_bytes(b"new")
    copy = CopyFile(str(images / "template"), str(images / "nvram"), SOURCE)
    await prepare([copy], "/q")
    assert (images / "nvram").read_bytes() == b"new"
    assert stat.S_IMODE((images / "nvram").stat().st_mode) == 0o600
    (images / "template").write_bytes(b"newer")
    await prepare([copy], "/q")
    assert (images / "nvram").read_bytes() == b"new"
    assert names(images) == {"template", "nvram"}


async def test_a_link_that_leads_nowhere_counts_as_a_file_that_is_there(images: Path) -> None:
    (images / "nvram").symlink_to("/nonexistent/nvram")
    await prepare([CopyFile("/nonexistent/template", str(images / "nvram"))], "/q")


async def test_what_cannot_be_copied_is_told_with_its_key(images: Path) -> None:
    copy = CopyFile("/nonexistent/template", str(images / "nvram"), ("machine",))
    with pytest.raises(LaunchError, match=r"^machine: .*/nvram cannot be made: No such file"):
        await prepare([copy], "/q")
    assert names(images) == set()


async def test_the_words_of_qemu_img_are_told_and_nothing_is_left(images: Path, tmp_path: Path) -> None:
    qemu = tool(tmp_path, 'echo half >"$file"; echo "qemu-img: $file: no space" >&2; exit 1')
    image = CreateImage(str(images / "a.qcow2"), "qcow2", 1 << 30, source=SOURCE)
    with pytest.raises(LaunchError) as caught:
        await prepare([image], qemu)
    path = images / "a.qcow2"
    assert str(caught.value) == f"disk.root: {path} cannot be made: qemu-img: {path}: no space"
    assert names(images) == set()


async def test_what_a_dead_daemon_left_half_made_is_replaced(images: Path, tmp_path: Path) -> None:
    (images / ".a.img.unfinished").write_text("half")
    await prepare([CreateImage(str(images / "a.img"), "raw", 1)], tool(tmp_path, 'echo whole >"$file"'))
    assert names(images) == {"a.img"}
    assert (images / "a.img").read_text() == "whole\n"


async def test_an_image_that_somebody_else_makes_meanwhile_is_not_overwritten(
    images: Path, tmp_path: Path
) -> None:
    qemu = tool(tmp_path, f'echo mine >"$file"; echo theirs >{images}/a.img')
    with pytest.raises(LaunchError, match="File exists"):
        await prepare([CreateImage(str(images / "a.img"), "raw", 1)], qemu)
    assert (images / "a.img").read_text() == "theirs\n"
    assert names(images) == {"a.img"}


async def test_a_tool_that_takes_too_long_is_killed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "DEADLINE", 0.1)
    qemu = tool(tmp_path, 'echo half >"$file"; exec sleep 60')
    with pytest.raises(LaunchError, match=r"took longer than 0\.1 s and was killed"):
        await prepare([CreateImage(str(images / "a.img"), "raw", 1)], qemu)
    assert names(images) == set()


async def test_a_cancelled_preparation_kills_the_tool_and_leaves_nothing(
    images: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "begun")
    qemu = tool(tmp_path, f'echo half >"$file"; echo $$ >{tmp_path}/begun; exec sleep 60')
    making = asyncio.create_task(prepare([CreateImage(str(images / "a.img"), "raw", 1)], qemu))
    pid = int(await asyncio.to_thread((tmp_path / "begun").read_text))
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert names(images) == set()
    assert not Path(f"/proc/{pid}").exists()


def test_qemu_img_is_looked_for_beside_qemu_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = tool(tmp_path, "")
    assert qemu_img(qemu) == str(tmp_path / "qemu-img")
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(tmp_path))
    assert qemu_img("/nonexistent/qemu-system-x86_64") == str(tmp_path / "qemu-img")
    (tmp_path / "qemu-img").unlink()
    with pytest.raises(LaunchError, match="there is no qemu-img beside /nonexistent/qemu"):
        qemu_img("/nonexistent/qemu-system-x86_64")


@pytest.mark.parametrize(
    ("held", "made"),
    [
        (b"hush", b"hush"),
        (b"hush\n", b"hush"),
        (b"a b\r\n", b"a b"),
        (b"12345678\r\n", b"12345678"),
        ("hüsh".encode(), "hüsh".encode()),
    ],
)
async def test_a_password_is_copied_without_the_end_of_its_line(
    held: bytes, made: bytes, images: Path
) -> None:
    (images / "password").write_bytes(held)
    await prepare([CopySecret(str(images / "password"), str(images / "copy"), 8, SOURCE)], "/q")
    assert (images / "copy").read_bytes() == made
    assert stat.S_IMODE((images / "copy").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hush-hush", "holds more than the 8 bytes"),
        (b"hush" * 2000, "holds more than the 8 bytes"),
        (b"hush\nno", "holds more than one line"),
        (b"hush\n\n", "holds more than one line"),
        (b"hush\0", "or control characters"),
        (b"hush\xff", "is no UTF-8"),
    ],
    ids=["nothing", "no password", "long", "too much", "two lines", "an empty line", "a NUL", "no text"],
)
async def test_what_is_no_password_is_refused_without_showing_it(held: bytes, why: str, images: Path) -> None:
    (images / "password").write_bytes(held)
    with pytest.raises(LaunchError, match=why) as refused:
        await prepare([CopySecret(str(images / "password"), str(images / "copy"), 8, SOURCE)], "/q")
    assert "hush" not in str(refused.value)
    assert names(images) == {"password"}


async def test_a_text_becomes_a_private_file_under_any_umask(images: Path) -> None:
    before = os.umask(0)
    try:
        await prepare([WriteFile(str(images / "text"), "hush\n", SOURCE)], "/q")
    finally:
        os.umask(before)
    assert (images / "text").read_text() == "hush\n"
    assert stat.S_IMODE((images / "text").stat().st_mode) == 0o600


async def test_a_fifo_in_the_place_of_a_password_is_not_waited_for(images: Path) -> None:
    os.mkfifo(images / "password")
    with pytest.raises(LaunchError, match="is no regular file"):
        await prepare([CopySecret(str(images / "password"), str(images / "copy"), 8, SOURCE)], "/q")

"""Images as they lie on the disk: real ones of qemu-img, and broken ones of nobody."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qsup.preflight.chain import image
from qsup.preflight.qcow2 import read_header

USES_CONSISTENT_READ, USES_WRITE, DENIES_WRITE = 100, 101, 201


@pytest.fixture(scope="session")
def qemu_img() -> str:
    found = shutil.which("qemu-img")
    if found is None:
        pytest.skip("qemu-img is not installed; scripts/setup installs it")
    return found


@pytest.fixture
def chain(tmp_path: Path, qemu_img: str) -> Path:
    """``top.qcow2`` on ``mid.qcow2`` on ``base.raw``."""
    create = [qemu_img, "create", "-q", "-f"]
    for command in (
        [*create, "raw", "base.raw", "1M"],
        [*create, "qcow2", "-b", "base.raw", "-F", "raw", "mid.qcow2"],
        [*create, "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2"],
    ):
        subprocess.run(command, check=True, cwd=tmp_path)
    return tmp_path


def told(file: Path, format_: str = "qcow2", *, write: bool = True, running: bool = False) -> list[str]:
    return [str(one) for one in image(("disk", "root"), str(file), format_, write=write, running=running)]


@contextlib.contextmanager
def locked(file: Path, *bytes_: int) -> Iterator[None]:
    """Shared locks of the kind that QEMU holds, on an open file of its own."""
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        for byte in bytes_:
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            fcntl.fcntl(fd, 37, lock)  # F_OFD_SETLK
        yield
    finally:
        os.close(fd)


def test_a_complete_chain_is_no_obstacle(chain: Path) -> None:
    assert told(chain / "top.qcow2") == []
    assert told(chain / "base.raw", "raw") == []


def test_a_missing_file_of_the_chain_is_told_with_the_one_above_it(chain: Path) -> None:
    (chain / "base.raw").unlink()
    assert told(chain / "top.qcow2") == [
        f"disk.root.file: backing file of {chain}/mid.qcow2: {chain}/base.raw does not exist"
    ]


def test_a_backing_file_of_another_format_than_its_image_names_is_told(chain: Path) -> None:
    (chain / "mid.qcow2").write_bytes(b"\0" * 65536)
    assert told(chain / "top.qcow2") == [
        f"disk.root.file: {chain}/mid.qcow2, the backing file of {chain}/top.qcow2, is no qcow2 image, "
        "as which that names it"
    ]


def test_a_chain_that_comes_back_to_itself_ends(chain: Path) -> None:
    (chain / "base.raw").unlink()
    (chain / "base.raw").symlink_to("top.qcow2")
    subprocess.run(
        ["qemu-img", "rebase", "-u", "-b", "base.raw", "-F", "qcow2", "mid.qcow2"], check=True, cwd=chain
    )
    (obstacle,) = told(chain / "top.qcow2")
    assert obstacle.endswith("is a part of its own backing chain")


def test_backing_files_that_are_no_files_are_left_to_qemu(tmp_path: Path, qemu_img: str) -> None:
    command = [qemu_img, "create", "-q", "-u", "-f", "qcow2", "-b", "nbd://127.0.0.1:1/x", "-F", "raw"]
    subprocess.run([*command, tmp_path / "a.qcow2", "1M"], check=True)
    assert told(tmp_path / "a.qcow2") == []


def test_an_image_that_is_marked_as_corrupt_is_told_if_it_is_to_be_written(chain: Path) -> None:
    with (chain / "top.qcow2").open("r+b") as file:
        file.seek(79)
        file.write(b"\2")
    (obstacle,) = told(chain / "top.qcow2")
    assert "is marked as corrupt; `qemu-img check -r all" in obstacle
    assert told(chain / "top.qcow2", write=False) == []


@pytest.mark.parametrize(
    ("locks", "write", "is_told"),
    [
        ((USES_CONSISTENT_READ, USES_WRITE, DENIES_WRITE), True, True),
        ((USES_CONSISTENT_READ, USES_WRITE, DENIES_WRITE), False, True),
        ((USES_CONSISTENT_READ, DENIES_WRITE), True, True),
        ((USES_CONSISTENT_READ, DENIES_WRITE), False, False),
        ((), True, False),
    ],
    ids=["writer and writer", "writer and reader", "reader and writer", "two readers", "nobody"],
)
def test_the_locks_of_another_qemu_are_seen(
    chain: Path, locks: tuple[int, ...], write: bool, is_told: bool
) -> None:
    with locked(chain / "top.qcow2", *locks):
        assert (
            any("is in use by another process" in one for one in told(chain / "top.qcow2", write=write))
            == is_told
        )
        assert told(chain / "top.qcow2", running=True) == []
    assert told(chain / "top.qcow2") == []


def test_a_backing_file_that_somebody_writes_to_is_told(chain: Path) -> None:
    with locked(chain / "base.raw", USES_CONSISTENT_READ, USES_WRITE):
        (obstacle,) = told(chain / "top.qcow2")
    assert f"{chain}/base.raw, the backing file of {chain}/mid.qcow2, is in use" in obstacle


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"QFI\xfb\0\0\0\3", "cut short"),
        (struct.pack(">4sIQI4xQ", b"QFI\xfb", 9, 0, 0, 0) + bytes(100), "its version is 9"),
        (struct.pack(">4sIQI4xQ", b"QFI\xfb", 3, 1 << 60, 8, 0) + bytes(100), "no name"),
        (struct.pack(">4sIQI4xQ", b"QFI\xfb", 2, 72, 1 << 30, 0) + bytes(100), "no name"),
        (struct.pack(">4sIQI4xQ", b"QFI\xfb", 2, 72, 4, 0) + bytes(100), "no name"),
    ],
)
def test_a_header_that_cannot_be_one_is_refused(head: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        read_header(head)
    (tmp_path / "a.qcow2").write_bytes(head)
    assert reason in told(tmp_path / "a.qcow2")[0]


def test_extensions_without_end_are_read_to_the_end_of_the_header() -> None:
    head = struct.pack(">4sIQI4xQ", b"QFI\xfb", 3, 0, 0, 1 << 20) + bytes(68) + struct.pack(">I", 104)
    header = read_header(head + struct.pack(">II", 1, 0xFFFFFFFF) * 1000)
    assert (header.size, header.backing, header.corrupt) == (1 << 20, None, False)


def test_a_backing_file_with_a_hostile_name_harms_no_terminal(tmp_path: Path) -> None:
    name = b"\x1b[31m\nx"
    head = struct.pack(">4sIQI4xQ", b"QFI\xfb", 2, 72, len(name), 0) + bytes(40) + name
    (tmp_path / "a.qcow2").write_bytes(head)
    (obstacle,) = told(tmp_path / "a.qcow2")
    assert obstacle.isprintable()

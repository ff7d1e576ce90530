"""Files that QEMU writes and the supervisor keeps small."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from qsup.proc.bounded import KEPT, LIMIT, Keeper, tail, trim


async def test_a_flood_on_stderr_stays_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "stderr.log"
    path.touch()
    keeper = Keeper()
    keeper.watch(path)
    task = asyncio.create_task(keeper.run())
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    largest = 0
    for number in range(40):
        os.write(fd, f"{number:06d}\n".encode() * (LIMIT // 28))
        while path.stat().st_blocks * 512 > LIMIT:
            await asyncio.sleep(0)
        largest = max(largest, path.stat().st_size)
    os.write(fd, b"the last words\n")
    os.close(fd)
    assert largest <= 2 * LIMIT
    assert tail(path, 100).endswith(b"the last words\n")
    assert (tmp_path / "stderr.log.1").stat().st_size <= KEPT
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_writer_that_does_not_append_leaves_a_hole_that_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "qemu.log"
    with path.open("wb", buffering=0) as file:
        file.write(b"x" * (LIMIT + 4096))
        trim(path)
        file.write(b"after")
        size = path.stat().st_size
        trim(path)
        assert path.stat().st_size == size
    assert tail(path, 100) == b"after"


def test_the_tail_of_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "nothing", 100) == b""

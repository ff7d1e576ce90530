"""Unix sockets at the end of any path, full backlogs, and errors that name the file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from qsup import endpoint
from qsup.errors import QmpLost

if TYPE_CHECKING:
    from pathlib import Path


async def test_sockets_work_in_directories_with_long_names(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    with endpoint.listen(directory, "qmp.sock") as listener:
        assert (directory / "qmp.sock").stat().st_mode & 0o777 == 0o600
        with await endpoint.connect(directory, "qmp.sock") as client:
            assert not client.getblocking()
            accepted, _ = listener.accept()
            accepted.close()


def test_a_listener_blocks_nobody_and_is_not_inherited(tmp_path: Path) -> None:
    with endpoint.listen(tmp_path, "qmp.sock") as listener:
        assert not listener.getblocking()
        assert not listener.get_inheritable()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_path_that_is_taken_is_named(tmp_path: Path) -> None:
    (tmp_path / "qmp.sock").touch()
    with pytest.raises(OSError, match="in use") as caught:
        endpoint.listen(tmp_path, "qmp.sock")
    assert caught.value.filename == str(tmp_path / "qmp.sock")


async def test_nobody_who_listens_is_told_with_the_path(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(QmpLost, match="nobody listens") as caught:
            await endpoint.connect(directory, "qmp.sock")
        assert str(directory / "qmp.sock") in str(caught.value)


async def test_a_full_backlog_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "PATIENCE", 0.1)
    with endpoint.listen(tmp_path, "qmp.sock") as listener:
        clients = [await endpoint.connect(tmp_path, "qmp.sock") for _ in range(endpoint.BACKLOG + 1)]
        with pytest.raises(QmpLost, match="too many clients"):
            await endpoint.connect(tmp_path, "qmp.sock")
        waiting = asyncio.ensure_future(endpoint.connect(tmp_path, "qmp.sock"))
        await asyncio.sleep(0)
        clients.append(listener.accept()[0])
        clients.append(await waiting)
        for client in clients:
            client.close()

"""What the watch of the configuration directory sees."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from qsup import watch
from qsup.watch import ConfigWatch

DEADLINE = 10.0


class Watched:
    """A directory under watch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bursts = aiter(ConfigWatch(root))

    async def sees(self, change: Callable[[], object]) -> None:
        """Make a change, and wait until it is told."""
        seen = asyncio.ensure_future(anext(self._bursts))
        change()
        async with asyncio.timeout(DEADLINE):
            await seen

    async def close(self) -> None:
        await self._bursts.aclose()  # type: ignore[attr-defined]


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(watch, "QUIET", 0.01)
    (tmp_path / "guests").mkdir()
    made = Watched(tmp_path)
    yield made
    await made.close()


async def test_files_links_and_directories_made_later_are_seen(watched: Watched) -> None:
    guests = watched.root / "guests"
    await watched.sees(lambda: (guests / "web@.toml").write_text(""))
    await watched.sees(lambda: (guests / "web@1.toml").symlink_to("web@.toml"))
    await watched.sees((watched.root / "profiles").mkdir)
    await watched.sees(lambda: (watched.root / "profiles/linux.toml").write_text(""))


async def test_drop_ins_are_seen_also_in_a_directory_that_is_made_anew(watched: Watched) -> None:
    dropins = watched.root / "guests/web1.toml.d"
    for _ in range(2):
        await watched.sees(dropins.mkdir)
        await watched.sees(lambda: (dropins / "a.toml").write_text(""))
        await watched.sees((dropins / "a.toml").unlink)
        await watched.sees(lambda: shutil.rmtree(dropins))


async def test_no_more_directories_than_the_limit_are_watched_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "LIMIT", 2)
    for number in range(4):
        (tmp_path / f"guests/web{number}.toml.d").mkdir(parents=True)
    made = ConfigWatch(tmp_path)
    assert len(made._inotify.watches) == 4, "the configuration, guests, and two of drop-ins"
    made._inotify.close()
    assert "more than 2 directories of drop-ins" in caplog.text

"""The points at which the chaos suite has a daemon die are where it looks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import points
from tests.chaos.board import Board


@pytest.mark.parametrize("name", points.PLACES)
def test_a_place_is_a_function_of_the_product(name: str) -> None:
    owner, attribute = points.found(points.PLACES[name])
    assert callable(getattr(owner, attribute))


def test_no_point_stands_there_twice() -> None:
    assert len(set(points.POINTS)) == len(points.POINTS)


def test_a_daemon_dies_at_the_pass_that_was_asked_for(tmp_path: Path) -> None:
    board = Board(tmp_path / "board", ("a", "b"))
    board.arm("b", 2)
    row = Board(tmp_path / "board", ("a", "b")).row("b")
    assert [board.passed(row) for _ in range(3)] == [False, True, False]
    assert (board.passes("b"), board.deaths("b"), board.passes("a")) == (3, 1, 0)
    board.arm("b")
    board.disarm()
    assert not board.passed(row)


def test_the_product_knows_nothing_of_it() -> None:
    for path in (Path(__file__).parents[2] / "qsup").rglob("*.py"):
        assert "chaos" not in path.read_text(encoding="utf-8"), path

"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qsup.units import Duration, Size


@given(st.integers(0, 10**15 - 1))
def test_a_size_reads_back_as_it_is_written(count: int) -> None:
    assert Size.parse(str(Size(count))) == count


@given(st.integers(0, 365 * 86_400_000_000))
@example(10_800_001_000)
@example(1)
def test_a_duration_reads_back_as_it_is_written(microseconds: int) -> None:
    seconds = microseconds / 1_000_000
    assert Duration.parse(str(Duration(seconds))) == seconds


@pytest.mark.parametrize(
    "text", ["", "4", "GiB", "4 GB", "-1 s", "1e3 s", "٤ GiB", "4 GiB ;", "4  GiB", "0.0001 B"]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Size.parse(text)
    with pytest.raises(ValueError):
        Duration.parse(text)


def test_quantities_print_in_the_largest_whole_unit() -> None:
    assert [str(Size(n)) for n in (0, 1, 1024, 1 << 30, 1536 << 20)] == [
        "0 B",
        "1 B",
        "1 KiB",
        "1 GiB",
        "1536 MiB",
    ]
    assert [str(Duration(n)) for n in (0, 0.5, 1.5, 90, 3600)] == ["0 s", "500 ms", "1500 ms", "90 s", "1 h"]

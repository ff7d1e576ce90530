"""A short walk through what strangers may send: good inputs, cut, joined and changed. ``make fuzz`` goes further."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

NOISE = [
    b"\0",
    b"\xff",
    b"[" * 300,
    b"{" * 300,
    b"9" * 400,
    b"1e999",
    b'"',
    b"\\ud800",
    b"\n",
    b"true",
    b"null",
    b"-1",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 4096), st.integers(0, 40), st.sampled_from(NOISE) | st.binary(max_size=12)),
    max_size=4,
)


def edited(seeds: list[bytes], edits: list[tuple[int, int, bytes]]) -> bytes:
    """Good inputs, of which pieces are replaced."""
    data = b"".join(seeds)
    for place, length, instead in edits:
        place %= len(data) + 1
        data = data[:place] + instead + data[place + length :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_falls(name: str) -> None:
    target, seeds = TARGETS[name]

    @settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(seeds), max_size=3), EDITS)
    def falls(chosen: list[bytes], edits: list[tuple[int, int, bytes]]) -> None:
        target(edited(chosen, edits))

    falls()

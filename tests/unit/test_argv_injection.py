"""No text in any field of a guest file adds, removes or changes an option of QEMU other than its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qsup.argv.build import build
from qsup.errors import SpecError
from qsup.spec.check import wrong
from qsup.spec.model import GuestSpec
from qsup.spec.tables.machine import Accel, Machine
from tests.unit.argv_guests import CONTEXT, KVM, TCG
from tests.unit.argv_parsing import shape_of
from tests.unit.spec_strategies import TABLES, filled, tables

if TYPE_CHECKING:
    from qsup.argv.invocation import Invocation

HOSTILE = st.text(
    st.sampled_from(",=\"'\\{}[]:;-%$/ ab\u2028")
    | st.characters(codec="utf-8", exclude_characters="".join(map(chr, [*range(32), 127]))),
    min_size=1,
    max_size=8,
)
"""What a file can hold in a text: TOML has no halves of surrogate pairs, qsup takes no control characters."""


@pytest.mark.parametrize("table", TABLES)
def test_no_text_adds_removes_or_changes_another_option(table: str) -> None:
    compared = 0

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        value=tables(table), text=HOSTILE, kvm=st.booleans(), board=st.sampled_from(["q35", "pc", "microvm"])
    )
    def compare(value: object, text: str, kvm: bool, board: str) -> None:
        nonlocal compared
        spec = GuestSpec(name="web1", machine=Machine(type=board, accel=Accel.AUTO))
        given = _with(spec, table, value)
        if any(wrong(filled(given, text))) or any(wrong(filled(given, ""))):
            return
        plain, hostile = _built(filled(given, ""), kvm), _built(filled(given, text), kvm)
        if plain is not None and hostile is not None:
            compared += 1
            assert shape_of(hostile) == shape_of(plain)
            assert words(hostile) == words(plain)

    compare()
    assert compared, "no guest with this table could be built, so nothing was compared"


def words(invocation: Invocation) -> list[tuple[str, int]]:
    """How many words the command line of each helper has."""
    return [(helper.name, len(helper.argv)) for helper in invocation.helpers]


def _with(spec: GuestSpec, table: str, value: object) -> GuestSpec:
    return GuestSpec(**{**{field: getattr(spec, field) for field in spec.__struct_fields__}, table: value})


def _built(spec: GuestSpec, kvm: bool) -> Invocation | None:
    try:
        return build(spec, KVM if kvm else TCG, CONTEXT)
    except SpecError:
        return None

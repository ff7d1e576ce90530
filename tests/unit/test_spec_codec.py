"""Specs as records on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import RecordError
from qsup.spec import codec
from qsup.spec.base import HostPath
from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from qsup.spec.policy import RestartOn, RestartPolicy, Stop, StopMethod
from qsup.spec.tables.disk import Disk
from qsup.spec.tables.memory import Memory
from qsup.units import Duration, Size
from tests.conftest import ROOT


def specs() -> list[GuestSpec]:
    return [spec for folder in ("configs", "tests/golden") for spec in load(ROOT / folder).guests.values()]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.name)
def test_every_spec_survives_its_record(spec: GuestSpec) -> None:
    assert codec.decode(codec.encode(spec)) == spec


@given(
    st.builds(
        GuestSpec,
        name=st.just("a"),
        description=st.text('aé"\\ €', max_size=9),
        after=st.lists(st.sampled_from(["b", "c"]), unique=True).map(tuple),
        memory=st.builds(Memory, size=st.integers(1, 1 << 32).map(lambda mib: Size(mib << 20))),
        disk=st.dictionaries(
            st.sampled_from(["root", "data"]),
            st.builds(
                Disk, file=st.sampled_from(["/a", '/é \\"']).map(HostPath), cache=..., bus=..., read_only=...
            ),
        ),
        restart=st.builds(
            RestartPolicy,
            delay=st.integers(0, 86_400_000).map(lambda ms: Duration.parse(f"{ms} ms")),
            on=st.builds(RestartOn, guest_panic=...),
        ),
        stop=st.builds(Stop, methods=st.lists(st.sampled_from(StopMethod), max_size=4).map(tuple)),
    )
)
def test_any_spec_survives_its_record(spec: GuestSpec) -> None:
    assert codec.decode(codec.encode(spec)) == spec


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"name": 1}', b'{"name": "a", "memory": {"size": "x"}}']
)
def test_a_record_that_holds_no_spec_is_told(data: bytes) -> None:
    with pytest.raises(RecordError):
        codec.decode(data)


def test_paths_start_at_the_configuration_directory(tmp_path: Path) -> None:
    assert codec.host_path("images/a", str(tmp_path)) == f"{tmp_path}/images/a"
    assert codec.host_path("/b/../a", str(tmp_path)) == "/a"

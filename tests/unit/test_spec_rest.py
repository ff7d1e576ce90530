"""Units, records of specs, differences, and the reference."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import RecordError
from qsup.spec import codec
from qsup.spec.diff import diff
from qsup.spec.load import load
from qsup.spec.model import Disk, GuestSpec, HostPath, Memory, Nic, Reaction, RestartOn, RestartPolicy
from qsup.spec.reference import reference
from qsup.units import Duration, Size
from tests.conftest import ROOT


@given(st.integers(0, 1 << 50))
def test_a_size_reads_back_as_it_is_written(count: int) -> None:
    assert Size.parse(str(Size(count))) == count


@given(st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_reads_back_as_it_is_written(seconds: float) -> None:
    assert Duration.parse(str(Duration(seconds))) == pytest.approx(seconds, abs=1e-6)


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


def specs() -> list[GuestSpec]:
    return [spec for folder in ("configs", "tests/golden") for spec in load(ROOT / folder).guests.values()]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.name)
def test_every_spec_survives_its_record(spec: GuestSpec) -> None:
    assert codec.decode(codec.encode(spec)) == spec


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"name": 1}', b'{"name": "a", "memory": {"size": "x"}}']
)
def test_a_record_that_holds_no_spec_is_told(data: bytes) -> None:
    with pytest.raises(RecordError):
        codec.decode(data)


def test_a_difference_is_told_key_by_key_and_live_keys_are_known() -> None:
    old = GuestSpec(name="a", disk={"root": Disk(file=HostPath("/a"))}, memory=Memory(size=Size(1 << 30)))
    new = msgspec.structs.replace(
        old,
        memory=Memory(size=Size(2 << 30)),
        autostart=True,
        disk={},
        nic={"lan": Nic(forward=("tcp::1:2",))},
        restart=RestartPolicy(limit=1, on=RestartOn(guest_reset=Reaction.STOP)),
    )
    changes = {change.path: change for change in diff(old, new)}
    assert str(changes["memory.size"]) == "memory.size: 1 GiB → 2 GiB"
    assert str(changes["disk.root.file"]) == "disk.root.file: /a → (absent)"
    assert changes["nic.lan.forward"].new == "[tcp::1:2]"
    live = {path for path, change in changes.items() if change.live}
    assert live == {"autostart", "restart.limit"}
    assert "restart.on.guest-reset" in changes
    assert diff(old, old) == ()


def test_the_reference_names_every_key_with_type_default_and_description() -> None:
    text = reference()
    assert "#### `[disk.ID]`" in text
    assert '| `size` | size | `"1 GiB"` |' in text
    assert "| `file` | path | required |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert all(row.split(" | ")[-1].strip(" |") for row in rows), "every key has a description"


def test_the_readme_holds_the_reference_as_it_is_generated() -> None:
    assert reference() in (ROOT / "README.md").read_text(), "run: python -m scripts.readme"


def test_paths_start_at_the_configuration_directory(tmp_path: Path) -> None:
    assert codec.host_path("images/a", str(tmp_path)) == f"{tmp_path}/images/a"
    assert codec.host_path("/b/../a", str(tmp_path)) == "/a"

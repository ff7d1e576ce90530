"""A spec as the guest file that says the same, and without what nobody is to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from qsup.spec.base import HostPath
from qsup.spec.codec import decode_hook
from qsup.spec.load import load
from qsup.spec.model import GuestSpec
from qsup.spec.secrets import is_secret_key, secrets_of, without_secrets
from qsup.spec.specifiers import resolve
from qsup.spec.tables.credential import Credential
from qsup.spec.tables.disk import Disk
from qsup.spec.written import document, said
from tests.conftest import ROOT
from tests.unit.spec_strategies import TABLES, filled, tables


def read_back(text: str, name: str) -> GuestSpec:
    """The spec that a file with this text declares."""
    table, findings = resolve(tomli.loads(text), name)
    assert findings == []
    return msgspec.convert({**table, "name": name}, GuestSpec, dec_hook=decode_hook("/"))


def specs() -> list[GuestSpec]:
    return [spec for folder in ("configs", "tests/golden") for spec in load(ROOT / folder).guests.values()]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.name)
def test_every_sample_is_written_as_a_file_that_says_the_same(spec: GuestSpec) -> None:
    assert read_back(document(said(spec)), spec.name) == spec


@given(
    st.sampled_from(TABLES).flatmap(lambda table: st.tuples(st.just(table), tables(table))),
    st.sampled_from(["", "%", '"\\é', "\x7f", "[x]", "\n"]),
)
def test_any_table_is_written_as_a_file_that_says_the_same(drawn: tuple[str, Any], text: str) -> None:
    name, table = drawn
    wanted = said(GuestSpec(name="a", **{name: filled(table, text)}))
    read, findings = resolve(tomli.loads(document(wanted)), "a")
    assert (read, findings) == (wanted, [])


def test_what_is_as_without_it_is_left_out_and_a_device_with_nothing_set_is_there(tmp_path: Path) -> None:
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests/a.toml").write_text("[serial.console]\n[memory]\nsize = '1 GiB'\n[cpu]\ncount = 3\n")
    text = document(said(load(tmp_path).guests["a"]))
    assert "[serial.console]" in text
    assert "count = 3" in text
    assert "restart" not in text


SECRET = GuestSpec(
    name="a",
    disk={"root": Disk(file=HostPath("/a"))},
    credential={"x": Credential(text="hush\nhush"), "y": Credential(file=HostPath("/etc/y"))},
)


def test_a_secret_is_removed_and_what_stands_beside_it_is_not() -> None:
    cleaned = without_secrets(said(SECRET))
    assert cleaned["credential"] == {"x": {"text": "(removed)"}, "y": {"file": "/etc/y"}}
    assert cleaned["disk"]["root"]["file"] == "/a"
    assert "hush" not in document(cleaned)


def test_the_secrets_themselves_can_be_had_to_look_for_them() -> None:
    assert secrets_of(SECRET) == ("hush\nhush",)
    assert secrets_of(GuestSpec(name="a")) == ()


def test_a_key_is_secret_whatever_the_id_of_its_table() -> None:
    assert is_secret_key(("credential", "any id", "text"))
    assert not is_secret_key(("credential", "text"))
    assert not is_secret_key(("fw-cfg", "any id", "text"))

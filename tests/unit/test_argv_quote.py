from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.argv.quote import as_json, comma, pairs, plain
from qsup.errors import SpecError
from tests.unit.argv_parsing import split_commas

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]))


@given(PRINTABLE)
def test_the_comma_form_gives_back_any_printable_text(text: str) -> None:
    assert split_commas(f"a={comma(text)},b=1") == [("a", text), ("b", "1")]


@given(PRINTABLE)
def test_json_gives_back_any_printable_text(text: str) -> None:
    assert json.loads(as_json("-device", {"driver": text, "list": [{"str": text}]}).value or "") == {
        "driver": text,
        "list": [{"str": text}],
    }


@pytest.mark.parametrize("bad", ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\ud800"], ids=repr)
def test_what_no_command_line_carries_is_refused_in_every_form(bad: str) -> None:
    text = f"a{bad}b"
    for refused in (
        lambda: plain(text),
        lambda: comma(text),
        lambda: pairs(a=text),
        lambda: as_json("-device", {"driver": text}),
        lambda: as_json("-netdev", {"hostfwd": [{"str": text}]}),
    ):
        with pytest.raises(SpecError, match="cannot carry"):
            refused()


def test_pairs_spell_booleans_and_hyphens_as_qemu_does() -> None:
    assert (
        pairs("socket", id="a,b", wait=False, debug_threads=True)
        == "socket,id=a,,b,wait=off,debug-threads=on"
    )


def test_a_json_member_that_is_none_is_left_out_and_others_keep_their_types() -> None:
    option = as_json("-device", {"driver": "ide-cd", "drive": None, "unit": 0, "flag": False, "text": "ü"})
    assert option.words() == ("-device", '{"driver":"ide-cd","unit":0,"flag":false,"text":"ü"}')

"""Secrets that only their form gives away."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.blackbox import redact


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("secret,id=s0,data=hush", "secret,id=s0,data=(removed)"),
        ("secret,id=s0,data=hu,,sh,format=raw", "secret,id=s0,data=(removed),format=raw"),
        (
            '{"qom-type":"secret","id":"s0","data":"hu\\"sh"}',
            '{"qom-type":"secret","id":"s0","data":"(removed)"}',
        ),
        ("file.driver=https,file.password=hush", "file.driver=https,file.password=(removed)"),
        ("file.password-secret=s0,readonly=on", "file.password-secret=s0,readonly=on"),
        ("user=me,password=hush", "user=me,password=(removed)"),
        (":1,password=on", ":1,password=on"),
        ("file=https://me:hush@host/x.iso", "file=https://me:(removed)@host/x.iso"),
        ("ssh://me@host/x", "ssh://me@host/x"),
        ("value=io.systemd.credential:a.b=hush", "value=io.systemd.credential:a.b=(removed)"),
        ("quiet systemd.set_credential=x:hush splash", "quiet systemd.set_credential=x:(removed) splash"),
        (
            "name=opt/io.systemd.credentials/x,string=hu,,sh",
            "name=opt/io.systemd.credentials/x,string=(removed)",
        ),
        (
            "string=hush,name=opt/io.systemd.credentials/x",
            "string=(removed),name=opt/io.systemd.credentials/x",
        ),
        ("name=opt/org.example/x,string=open", "name=opt/org.example/x,string=open"),
        ("socket,id=qsup-0123456789abcdef,fd=4", "socket,id=qsup-0123456789abcdef,fd=4"),
    ],
)
def test_a_word_loses_its_secret_and_nothing_else(word: str, left: str) -> None:
    assert redact.word(word) == left


def test_all_strings_of_a_value_are_looked_at() -> None:
    value = {"args": ["-object", "secret,data=hush"], "n": 1, "t": ("https://a:b@c",)}
    assert redact.Redaction(()).value(value) == {
        "args": ["-object", "secret,data=(removed)"], "n": 1, "t": ["https://a:(removed)@c"],
    }  # fmt: skip


@given(
    st.text(min_size=1, max_size=20) | st.text('"\\\\n:,', max_size=20),
    st.integers(0, 2),
    st.sampled_from(["password", "data", "cookie", "file.password"]),
    st.booleans(),
)
def test_a_secret_in_json_is_removed_whatever_it_is(secret: str, depth: int, key: str, ascii_: bool) -> None:
    text = json.dumps({"a": 1, key: secret, "b": 2}, ensure_ascii=ascii_)
    for _ in range(depth):
        text = json.dumps({"inner": text}, ensure_ascii=ascii_)
    cleaned = json.loads(redact.message(text.encode(errors="replace")))
    for _ in range(depth):
        cleaned = json.loads(cleaned["inner"])
    assert cleaned == {"a": 1, key: "(removed)", "b": 2}


@given(st.integers(0, 60))
def test_a_secret_that_was_cut_is_removed_as_well(at: int) -> None:
    text = b'{"execute": "set_password", "arguments": {"password": "hush-hush"}}'
    assert b"hush" not in redact.message(text[:at])


@given(st.text('ab{}[]",:\\ ', max_size=200))
def test_json_without_secrets_is_left_as_it_is(text: str) -> None:
    assert redact.message(text.encode()) == text.encode()


@pytest.mark.parametrize(
    "piece", ['"', "\\", '\\"', '"data":"', "://a:", "://a:b@", "io.systemd.credential:", "a.", '"a.', "password"]
)  # fmt: skip
def test_no_text_takes_long_to_search(piece: str) -> None:
    data = ("password" + piece * 4000)[:2048].encode()
    began = time.process_time()
    redact.message(data)
    redact.word(data.decode())
    assert time.process_time() - began < 0.05


def test_known_secrets_are_found_in_what_was_printed_as_a_whole_and_line_by_line() -> None:
    printed = b"key: first line\r\nsecond line\r\nshort\r\n"
    hide = redact.Redaction(["first line\nsecond line\nshort"])
    assert hide.data(printed) == b"key: (removed)\r\n(removed)\r\nshort\r\n"
    assert hide.data(b'{"a": "first line\\nsecond line\\nshort"}') == b'{"a": "(removed)"}'
    assert hide.value({"a": ["x second line y"]}) == {"a": ["x (removed) y"]}

"""The splitter of the control socket's byte stream."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.control.framing import MAX_DEPTH, ProtocolError, Splitter

texts = st.text() | st.text(alphabet='{}[]"\\ \n', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=4)
spaces = st.text(alphabet=" \t\r\n", max_size=3)


def take_all(splitter: Splitter) -> list[bytes]:
    taken = []
    while (message := splitter.take()) is not None:
        taken.append(message)
    return taken


@given(st.lists(st.tuples(objects, spaces, st.booleans()), max_size=5), st.data())
def test_any_cut_of_any_objects_gives_the_same_objects(
    written: list[tuple[dict[str, Any], str, bool]], data: st.DataObject
) -> None:
    stream = b"".join((json.dumps(o, ensure_ascii=escaped) + space).encode() for o, space, escaped in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = Splitter()
    taken = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.add(stream[start:end])
        taken += take_all(splitter)
    assert [json.loads(message) for message in taken] == [o for o, _, _ in written]
    assert splitter.rest().strip() == b""


@given(objects)
def test_a_byte_at_a_time_is_enough(value: dict[str, Any]) -> None:
    splitter = Splitter()
    taken = []
    for byte in json.dumps(value).encode():
        splitter.add(bytes([byte]))
        taken += take_all(splitter)
    assert [json.loads(message) for message in taken] == [value]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\x00", b"[]", b'"{}"', b"}", b"\xff{}"])
def test_garbage_is_refused_at_once_after_the_objects_before_it(garbage: bytes) -> None:
    splitter = Splitter()
    splitter.add(b'{"a":1} ' + garbage)
    assert splitter.take() == b'{"a":1}'
    with pytest.raises(ProtocolError, match="expected a JSON object"):
        splitter.take()


@pytest.mark.parametrize("tail", [b"", b'"}'])
def test_a_message_over_the_limit_is_refused_whether_finished_or_not(tail: bytes) -> None:
    splitter = Splitter(max_message=100)
    splitter.add(b'{"a":"' + b"x" * 100 + tail)
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        splitter.take()


def test_a_message_of_exactly_the_limit_passes() -> None:
    message = b'{"a":"' + b"x" * 92 + b'"}'
    splitter = Splitter(max_message=len(message))
    splitter.add(message + message)
    assert take_all(splitter) == [message, message]


def test_nesting_has_a_limit() -> None:
    splitter = Splitter()
    splitter.add(b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")
    assert splitter.take() is not None
    splitter.add(b'{"a":' + b"[" * MAX_DEPTH)
    with pytest.raises(ProtocolError, match="nested deeper"):
        splitter.take()


def test_what_follows_an_object_can_be_taken_as_raw_bytes() -> None:
    splitter = Splitter()
    splitter.add(b'{"a":1}\nraw {bytes')
    assert splitter.take() == b'{"a":1}'
    assert splitter.rest() == b"\nraw {bytes"
    assert splitter.rest() == b""


def test_time_grows_no_faster_than_the_stream() -> None:
    def seconds(size: int) -> float:
        splitter = Splitter(max_message=1 << 30)
        stream = b'{"' + b'\\"{' * size + b'":1}'
        began = time.process_time()
        for at in range(0, len(stream), 64):
            splitter.add(stream[at : at + 64])
            splitter.take()
        return time.process_time() - began

    small = min(seconds(10_000) for _ in range(3))
    assert min(seconds(80_000) for _ in range(3)) < small * 8 * 4

"""A text in a stream, whatever the pieces that it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.checks.text import Finder

SHOWN = {
    "[  OK  ] Started Foo.": b"boot\r\n[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mFoo\x1b[0m.\r\n",
    "login:": b"\x1b[?2004h\x1b(Bweb1 lo\x1b[Kgin: ",
    "a link": b"a \x1b]8;;http://x/\x1b\\link\x1b]8;;\x07",
    "title": b"\x1b]0;some title\x07\x1bctitle",
    "a b": b"a\tb",
    "größe": "größe".encode(),
    "ready": b"re\0a\bd\x7fy",
    "xyz": b"\x1b]" + b"-" * 600 + b"xyz",
}
NOT_SHOWN = {
    "over two lines": b"over two\r\n lines",
    "over it": b"over\r it",
    "title": b"\x1b]0;title\x07",
    "31m": b"\x1b[31mred",
}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", SHOWN)
def test_what_a_terminal_shows_is_found_in_pieces_of_any_size(text: str, size: int) -> None:
    finder = Finder(text)
    assert [finder.feed(piece) for piece in pieces(SHOWN[text], size)][-1]
    assert finder.feed(b"and it stays found")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", NOT_SHOWN)
def test_what_it_does_not_show_is_not(text: str, size: int) -> None:
    finder = Finder(text)
    assert not any(finder.feed(piece) for piece in pieces(NOT_SHOWN[text], size))


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    st.binary(max_size=50),
    st.integers(1, 9),
)
def test_a_text_on_a_line_of_its_own_is_found_whatever_comes_before(
    text: str, before: bytes, size: int
) -> None:
    finder = Finder(text)
    # BEL and ESC \ end whatever sequence the rubbish may have begun.
    data = before + b"\x07\x1b\\\r\n" + text.encode() + b"\r\n"
    assert [finder.feed(piece) for piece in pieces(data, size)][-1]


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_little_is_kept_whatever_comes(stream: list[bytes]) -> None:
    finder = Finder("never" * 50)
    for data in stream:
        finder.feed(data)
        assert len(finder._last) + len(finder._unread) < 600


@given(st.binary(max_size=200), st.integers(1, 20))
def test_the_pieces_make_no_difference(data: bytes, size: int) -> None:
    whole, cut = Finder("ab"), Finder("ab")
    whole.feed(data)
    for piece in pieces(data, size):
        cut.feed(piece)
    assert whole.found == cut.found

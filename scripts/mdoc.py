"""mdoc(7), the language of the manual pages: text and arguments, written so that troff misreads nothing. Pure."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MACRO = re.compile(r"[A-Z%][A-Za-z0-9]{1,2}")
"""What mdoc might take for one of its macros."""
_PUNCTUATION = ".,:;()[]?!|"
_SENTENCE = re.compile(r'(?<=[.!?]) (?=[A-Z\\"(])')
_SIGN = re.compile(r"(?<= )([.!?])(?= )")
"""A sign that is told of, and ends nothing."""
_WIDTH = 80


def escaped(text: str) -> str:
    """Text that stands for itself within a line: no escape of troff's, and a hyphen that is one when it is copied."""
    return text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")


def text(prose: str) -> str:
    """A paragraph of prose; what stands between backquotes is set as a literal."""
    words = []
    for number, part in enumerate(prose.split("`")):
        literal = number % 2 == 1
        words.append(rf"\fB{escaped(part)}\fP" if literal else part.replace("\\", r"\e").replace("…", "..."))
    return "\n".join(wrapped("".join(words)))


def wrapped(line: str) -> Iterator[str]:
    """A line of text as several: troff wants each sentence on its own, to know how much room comes after it."""
    for sentence in _SENTENCE.split(_SIGN.sub(r"\1\\&", line)):
        for part in textwrap.wrap(sentence, _WIDTH, break_long_words=False, break_on_hyphens=False):
            yield rf"\&{part}" if part[0] in ".'" else part


def argument(word: str) -> str:
    """A word as an argument of a macro."""
    quoted = escaped(word).replace('"', r"\(dq")
    if _MACRO.fullmatch(word) or all(sign in _PUNCTUATION for sign in word):
        quoted = rf"\&{quoted}"
    if quoted.endswith("]"):
        quoted += r"\&"  # It ends the word and no sentence.
    return f'"{quoted}"' if " " in quoted or not quoted else quoted


def listing(items: Iterable[tuple[str, str]], *, compact: bool = False) -> Iterator[str]:
    """A list of heads, each a line of macros, and what is said of each, lines of mdoc."""
    yield ".Bl -tag -width Ds" + (" -compact" if compact else "")
    for head, body in items:
        yield f".It {head}"
        yield body
    yield ".El"

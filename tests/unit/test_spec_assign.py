"""``key=value`` into a text: what it then says, and that nothing else of it changes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from qsup.errors import UsageError
from qsup.spec.assign import Assignment, assigned, assignment
from qsup.spec.toml import value
from tests.unit.test_spec_locate import documents, keys, quoted, values, written

TEXT = """\
# The head.
profile = ["linux"]   # p

[memory]     # mem
size = "1 GiB"   # how much

# the disk
[disk.root]
  file = "/a"

# what becomes of it
[restart]
policy = "always"
"""


def after(text: str, *words: str) -> str:
    return assigned(text, [assignment(word) for word in words])


CASES = {
    "a value is put in the place of the old one": (
        ["memory.size=2 GiB"],
        TEXT.replace("1 GiB", "2 GiB"),
    ),
    "a key of no table goes before the first header": (
        ["autostart=true"],
        TEXT.replace("# p\n", "# p\nautostart = true\n"),
    ),
    "a key goes after the last one of its table": (
        ["disk.root.cache=none", "disk.root.aio=native"],
        TEXT.replace('  file = "/a"\n', '  file = "/a"\n  cache = "none"\n  aio = "native"\n'),
    ),
    "a table goes after the last one of its family": (
        ["disk.data.file=/b"],
        TEXT.replace('  file = "/a"\n', '  file = "/a"\n\n[disk.data]\nfile = "/b"\n'),
    ),
    "another table goes to the end": (["cpu.count=4"], TEXT + "\n[cpu]\ncount = 4\n"),
    "a key is taken away with its line": (
        ["memory.size="],
        TEXT.replace('size = "1 GiB"   # how much\n', ""),
    ),
    "a table is taken away with all in it": (
        ["disk.root="],
        TEXT.replace('[disk.root]\n  file = "/a"\n', ""),
    ),
    "a key that is not there is added and taken away again": (["cpu.count=4", "cpu="], TEXT + "\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_else_changes(case: str) -> None:
    words, expected = CASES[case]
    assert after(TEXT, *words) == expected


def test_an_empty_text_and_one_of_comments_alone_take_keys_and_tables() -> None:
    assert after("", "cpu.count=4", "autostart=true") == "autostart = true\n\n[cpu]\ncount = 4\n"
    assert after("# Only this.\n", "autostart=true") == "# Only this.\nautostart = true\n"
    assert after("# Only this.\n", "cpu.count=4") == "# Only this.\n\n[cpu]\ncount = 4\n"


def test_dotted_keys_and_inline_tables_stay_what_they_are() -> None:
    text = 'cpu.count = 1  # one\nmemory = { size = "1 GiB" }\n'
    assert after(text, "cpu.count=2", "cpu.model=max", "memory.size=2 GiB", "memory.slots=3") == (
        'cpu.count = 2  # one\ncpu.model = "max"\nmemory = { size = "2 GiB", slots = 3 }\n'
    )
    assert after(text, "cpu.count=", "memory.size=") == ""


def test_line_ends_the_byte_order_mark_and_a_missing_last_newline_stay() -> None:
    assert after("\ufeffa = 1\r\n[b]\r\nc = 1\r\n", "b.d=2") == "\ufeffa = 1\r\n[b]\r\nc = 1\r\nd = 2\r\n"
    assert after("a = 1", "b=2") == "a = 1\nb = 2\n"
    assert after("a = 1", "a=2") == "a = 2"


def test_a_value_of_several_lines_is_replaced_as_a_whole() -> None:
    text = 'after = [\n  "a",  # first\n  "b",\n]\ntext = """\n[x]\n"""  # end\nlast = 1\n'
    assert after(text, 'after=["c"]', "text=y") == 'after = ["c"]\ntext = "y"  # end\nlast = 1\n'
    assert after(text, "after=", "text=") == "last = 1\n"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("autostart=true", True),
        ("cpu.count=4", 4),
        ("cpu.count = 4", 4),
        ("memory.size=2 GiB", "2 GiB"),
        ("memory.size='2 GiB'", "2 GiB"),
        ("description=true", "true"),
        ("description=2024", "2024"),
        ("disk.a.cache=none", "none"),
        ("disk.a.file=/srv/a b.img", "/srv/a b.img"),
        ('boot.order=["a", "b"]', ["a", "b"]),
        ("cpu.features={ vmx = true }", {"vmx": True}),
        ("cpu.features.vmx=false", False),
        ("x=1\ny=2", "1\ny=2"),
        ("x=1979-05-27", datetime.date(1979, 5, 27)),
        ("x==", "="),
        ("x=", None),
    ],
)
def test_a_word_is_read_as_toml_or_as_a_string(word: str, expected: Any) -> None:
    assert assignment(word).value == expected


@pytest.mark.parametrize("word", ["cpu", "=1", "a b=1", "a.=1", "[a]=1", "a\nb=1"])
def test_what_is_no_assignment_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        after("", word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a = 1\n", "a.b=1"),
        ("a = 1\n", "b="),
        ("[a]\n", "a.b="),
        ("nonsense", "a=1"),
        ("[[a]]\nb = 1\n", "a.c=1"),
    ],
)
def test_what_cannot_be_done_is_refused(text: str, word: str) -> None:
    with pytest.raises(UsageError):
        after(text, word)


@settings(max_examples=300, deadline=None)
@given(
    document=documents,
    path=st.lists(keys, min_size=1, max_size=3),
    new=st.one_of(st.none(), values),
    known=st.booleans(),
    draw=st.data(),
)
def test_any_assignment_in_any_text_is_done_exactly_or_refused(
    document: dict[str, Any], path: list[str], new: Any, known: bool, draw: st.DataObject
) -> None:
    """``assigned`` reads its result back itself; what is tried here is that it does no harm."""
    lines = ["# the first line"]
    tables = {key: inner for key, inner in document.items() if isinstance(inner, dict)}
    lines += [
        f"{quoted(key)} = {written(inner, draw)}" for key, inner in document.items() if key not in tables
    ]
    for key, table in tables.items():
        lines += [
            f"[{quoted(key)}] # header",
            *(f"{quoted(k)} = {written(v, draw)} # key" for k, v in table.items()),
        ]
    text = "\n".join(lines) + "\n"
    if known and document:
        path[0] = draw.draw(st.sampled_from(sorted(document)))
    try:
        result = assigned(text, [Assignment(tuple(path), new)])
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "something else" not in refusal
        return
    assert result.startswith("# the first line\n")
    found: Any = tomli.loads(result)
    for part in path[:-1]:
        found = found.get(part, {})
    assert found.get(path[-1]) == new
    others = tomli.loads(result)
    others.pop(path[0], None)
    assert others == {key: inner for key, inner in document.items() if key != path[0]}


@given(of=values)
def test_a_value_is_written_so_that_it_reads_back(of: Any) -> None:
    assert tomli.loads(f"x = {value(of)}") == {"x": of}

"""The lines of keys, against tomli on texts of every shape."""

from __future__ import annotations

from typing import Any

import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from qsup.spec.locate import locate

TEXT = '''\
# a comment = "with a key"
top = 1
dotted.key = { inline = [1, 2], "quoted key" = """multi
line # not a comment""" }   # comment

[table]
array = [
    "one",   # [not.a.table]
    { deep = 'x' },
]
text = \'\'\'
[not.a.table]
\'\'\'
after = true

[table."sub.table"]
x = 1979-05-27T07:32:00Z

[[list]]
a = 1
[[list]]
a = 2
[list.sub]
b = "\\u00e9"
'''


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Every path of a parsed document."""
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found |= paths(item, (*path, key))
    return found


def test_every_path_of_a_document_of_all_shapes_has_its_line() -> None:
    lines = locate(TEXT)
    assert paths(tomli.loads(TEXT)) == set(lines)
    expected: dict[tuple[str | int, ...], int] = {
        ("top",): 2,
        ("dotted", "key", "inline", 1): 3,
        ("dotted", "key", "quoted key"): 3,
        ("table",): 6,
        ("table", "array", 0): 8,
        ("table", "array", 1, "deep"): 9,
        ("table", "text"): 11,
        ("table", "after"): 14,
        ("table", "sub.table", "x"): 17,
        ("list", 0, "a"): 20,
        ("list", 1, "a"): 22,
        ("list", 1, "sub", "b"): 24,
    }
    assert {path: lines[path] for path in expected} == expected


keys = st.text(st.sampled_from('abA_-.9 "é\\#='), min_size=1, max_size=5)
texts = st.text(st.sampled_from("ab\"\\\n#[]{}=,'é "), max_size=12)
scalars = st.one_of(
    st.integers(-99, 99), st.booleans(), texts, st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)
documents = st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values, max_size=3)), max_size=4)


def quoted(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def written(value: Any, draw: st.DataObject) -> str:
    """A value as TOML, in one of the ways that TOML has for it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "'" not in value and "\n" not in value and draw.draw(st.booleans()):
            return f"'{value}'"
        if '"' not in value and "\\" not in value and draw.draw(st.booleans()):
            return f'"""\n{value}"""'
        return quoted(value)
    if isinstance(value, list):
        space = draw.draw(st.sampled_from(["", " ", "\n", "\n# [x] comment\n"]))
        return "[" + "".join(f"{space}{written(item, draw)}{space}," for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {written(item, draw)}" for key, item in value.items()) + "}"
    return repr(value)


@settings(max_examples=200, deadline=None)
@given(document=documents, draw=st.data())
def test_every_path_of_any_document_has_a_line_that_holds_its_key(
    document: dict[str, Any], draw: st.DataObject
) -> None:
    lines = []
    for key, value in document.items():
        if not isinstance(value, dict):
            lines.append(f"{quoted(key)} = {written(value, draw)}")
    for key, value in document.items():
        if isinstance(value, dict):
            lines.append(f"  [ {quoted(key)} ] # comment")
            lines += [f"{quoted(name)} = {written(item, draw)}" for name, item in value.items()]
    text = "\n".join(lines) + "\n"
    found = locate(text)
    assert paths(tomli.loads(text)) == set(found)
    rows = text.split("\n")
    for path, line in found.items():
        if isinstance(path[-1], str):
            assert quoted(path[-1]) in rows[line - 1]

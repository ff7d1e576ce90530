"""Reads a command line back as QEMU does, to compare what it says rather than how it is spelled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsup.argv.invocation import Invocation, Option

RAW = {"-bios", "-kernel", "-initrd", "-append", "-D", "-uuid", "-d", "-accel", "-cpu"}
"""Options whose value QEMU takes as one text."""


def parse_value(option: Option) -> Any:
    """A value: parsed JSON, or the pairs of the comma form (as util/keyval.c splits them), or the text."""
    if option.value is None or option.flag in RAW:
        return option.value
    if option.value.startswith("{"):
        return json.loads(option.value)
    return split_commas(option.value)


def split_commas(text: str) -> list[tuple[str, str]]:
    """``a=b,c=d,,e`` into ``[("a", "b"), ("c", "d,e")]``; a word without ``=`` has the key ""."""
    words = [word.replace("\0", ",") for word in text.replace(",,", "\0").split(",")]
    return [
        (key, value) if equals else ("", key)
        for key, equals, value in (word.partition("=") for word in words)
    ]


def shape(value: Any) -> Any:
    """What is there, without the texts: which keys, which types."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, tuple):
        return value[0]
    return type(value)


def shape_of(invocation: Invocation) -> list[tuple[str, Any]]:
    """Which options are there, with which keys."""
    return [(option.flag, shape(parse_value(option))) for option in invocation.options]


def devices(invocation: Invocation) -> dict[str, dict[str, Any]]:
    """The JSON of each device by its id."""
    found = (parse_value(option) for option in invocation.options if option.flag == "-device")
    return {device["id"]: device for device in found}


def values(invocation: Invocation, flag: str) -> list[Any]:
    """The parsed values of an option, as often as it stands there."""
    return [parse_value(option) for option in invocation.options if option.flag == flag]

"""Arguments that a guest file keeps for QEMU: devices in JSON, as qsup writes its own.

QEMU makes devices of the comma form before those in JSON. One of a kept `-device` without a place would take the
first slot of the PCI bus, which is qsup's video card's; in JSON it comes last, and takes one that is left.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from qsup.importer.pairs import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TEXTS: Final = frozenset(
    """
    driver id bus addr chardev netdev drive memdev audiodev rng name serial mac guid host file evdev tag mount_tag
    fsdev tpmdev vendor product model romfile sysfsdev iothread failover_pair_id masterbus display rp bootrom
    """.split()  # noqa: SIM905 - so many words read better as text
)
"""Properties that are text even if they look like numbers."""
_SWITCHES: Final = {"on": True, "off": False}
_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]{1,16}|[0-9]{1,19}")
_SIZE: Final = re.compile(r"([0-9]{1,18})([KMGT])i?B?")
_FACTORS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def kept(args: Sequence[str]) -> list[str]:
    """The arguments, each `-device` in JSON; what cannot be read as a device stays as it is."""
    words = list(args)
    for index, (flag, value) in enumerate(pairwise(words)):
        if flag in ("-device", "--device") and not value.startswith("{"):
            words[index + 1] = _json(value)
    return words


def _json(value: str) -> str:
    members: dict[str, object] = {}
    for key, text in _pairs(value):
        if not key or key in members:
            return value
        members[key] = _typed(key, text)
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    for number, part in enumerate(parts(value)):
        key, equals, text = part.partition("=")
        if equals:
            yield key, text
        elif number == 0:
            yield "driver", part
        else:
            yield key, "on"


def _typed(key: str, text: str) -> object:
    """A value as the JSON type that its property most likely has."""
    if key in _TEXTS:
        return text
    if text in _SWITCHES:
        return _SWITCHES[text]
    if _NUMBER.fullmatch(text):
        return int(text, 16 if text.startswith("0x") else 10)
    size = _SIZE.fullmatch(text)
    return int(size[1]) * _FACTORS[size[2]] if size else text

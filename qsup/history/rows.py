"""Events on their way into the file and out of it. What comes out is not trusted: files get damaged. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.history.kept import Kept, Watch
from qsup.history.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT: Final = 64 * 1024
"""Bytes; of a longer event only the short members are kept."""
SHORT: Final = 1024
"""Bytes."""


class Row(msgspec.Struct, frozen=True):
    """An event that is to be kept."""

    wall: float
    now: float
    seq: int
    guest: str | None
    kind: str
    data: Mapping[str, Any]


def encoded(data: Mapping[str, Any]) -> str:
    """The data of an event as JSON of a bounded size, whatever it holds."""
    text = _json(data)
    if len(text) > LIMIT:
        short = {key: value for key, value in data.items() if len(_json(value)) <= SHORT}
        text = _json({**short, "left-out": len(data) - len(short)})
    if len(text) > LIMIT:
        text = _json({"left-out": len(data)})
    return text.decode()


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        # A path, say, that is no UTF-8.
        return json.dumps(value, default=str, ensure_ascii=False).encode(errors="replace")


def text(data: bytes) -> str:
    """Text as SQLite hands it over: damage to it is no reason to lose the rest."""
    return data.decode(errors="replace")


def event(row: Sequence[Any]) -> Kept | None:
    """An event from its columns, id first; None if it cannot be one."""
    *columns, data = row
    try:
        return msgspec.convert((*columns, _object(data)), Kept)
    except msgspec.ValidationError:
        return None


def _object(data: object) -> dict[str, Any]:
    try:
        return msgspec.json.decode(str(data), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {"unreadable": str(data)[:SHORT]}


def watch(row: Sequence[Any]) -> Watch | None:
    """A watch from its columns, id first; None if it cannot be one."""
    id_, boot, version, pid, began_wall, began_now, seen_wall, seen_now, orderly = row
    fields = {"id": id_, "boot": boot, "version": version, "pid": pid, "orderly": orderly == 1}
    moments = {"began": (began_wall, began_now), "seen": (seen_wall, seen_now)}
    try:
        return msgspec.convert({**fields, **moments}, Watch)
    except msgspec.ValidationError:
        return None


def standing(data: object) -> Standing | None:
    """How a guest stood, as :func:`encoded` has written it; None if that cannot be read."""
    try:
        return msgspec.json.decode(str(data), type=Standing)
    except msgspec.DecodeError:
        return None

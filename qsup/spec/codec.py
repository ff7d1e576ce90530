"""A spec as JSON, for the records on disk, and the hooks with which msgspec reads and writes qsup's own types."""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsup.errors import RecordError
from qsup.spec.base import Account, HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.tables.limits import Limits
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Callable


PATH_LIMIT: Final = 4095
"""Bytes; Linux's PATH_MAX without the byte that ends it."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ACCOUNT: Final = re.compile(r"\*|[0-9]{1,10}|[^\W\d][^\s:/*\x00-\x1f\x7f]{0,255}")
HIGHEST_ID: Final = 0xFFFFFFFE
"""The highest number of a user or a group; one more means nobody at all."""
# A thousand guests say the same few sizes and durations.
_size = lru_cache(4096)(Size.parse)
_duration = lru_cache(4096)(Duration.parse)


@cache
def decode_hook(base: str) -> Callable[[type, Any], Any]:
    """How msgspec reads sizes, durations and paths; relative paths start at ``base``."""

    def decode(kind: type, value: object) -> object:
        if kind is Account:
            return account(value)
        if not isinstance(value, str):
            raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
        if kind is HostPath:
            return host_path(value, base)
        if kind is Size:
            return _size(value)
        if kind is Duration:
            return _duration(value)
        raise TypeError(f"cannot decode {kind.__name__}")

    return decode


def host_path(text: str, base: str) -> HostPath:
    """An absolute, normalised path; raise ValueError for what cannot be one."""
    if not text:
        raise ValueError("a path must not be empty")
    if _CONTROL.search(text):
        raise ValueError("a path must not hold control characters")
    path = os.path.normpath(os.path.join(base, text))
    if len(path.encode(errors="surrogateescape")) > PATH_LIMIT:
        raise ValueError(f"a path must not be longer than {PATH_LIMIT} bytes")
    return HostPath(path)


def account(value: object) -> Account:
    """A user or a group; raise ValueError for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or _ACCOUNT.fullmatch(value) is None:
        raise ValueError("a user or a group is written by its name or its number")
    if value.isdecimal() and int(value) > HIGHEST_ID:
        raise ValueError(f"numbers of users and groups go up to {HIGHEST_ID}")
    return Account(value)


def plain(value: Any) -> Any:
    """A spec as dictionaries, lists and strings, in the words of a guest file."""
    if isinstance(value, Size | Duration | HostPath | Account):
        return str(value)
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {key: plain(getattr(value, field)) for field, key in names}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def encode(spec: GuestSpec) -> bytes:
    """The spec as JSON."""
    return msgspec.json.encode(plain(spec))


def encode_limits(limits: Limits) -> bytes:
    """A guest's limits as JSON."""
    return msgspec.json.encode(plain(limits))


def decode_limits(data: bytes) -> Limits:
    """The limits that were encoded; raises RecordError."""
    try:
        return msgspec.json.decode(data, type=Limits, dec_hook=decode_hook("/"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RecordError(f"limits of a launch cannot be read: {error}") from error


def decode(data: bytes) -> GuestSpec:
    """The spec that was encoded; raises RecordError."""
    try:
        return msgspec.json.decode(data, type=GuestSpec, dec_hook=decode_hook("/"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RecordError(f"a launched spec cannot be read: {error}") from error

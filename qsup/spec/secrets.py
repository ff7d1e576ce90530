"""What of a guest nobody is to see, and the rest without it. Pure."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from qsup.spec.codec import plain
from qsup.spec.explain import is_secret
from qsup.spec.keys import tables
from qsup.spec.model import GuestSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOVED: Final = "(removed)"
"""Stands where a secret stood."""


@cache
def _secret_keys() -> tuple[tuple[str, ...], ...]:
    """The paths of all keys whose values nobody is to see, with ``ID`` for an id."""
    return tuple(
        (*table.path, key.name)
        for table in tables(GuestSpec)
        for key in table.keys
        if is_secret(key.declared)
    )


def is_secret_key(path: tuple[str, ...]) -> bool:
    """Whether nobody is to see what a guest file says under these keys."""
    return any(
        len(path) == len(key) and all(part in (own, "ID") for own, part in zip(path, key, strict=True))
        for key in _secret_keys()
    )


def without_secrets(table: dict[str, Any]) -> dict[str, Any]:
    """A guest's table, in the words of its file, with ``(removed)`` for each secret."""
    cleaned: dict[str, Any] = _cleaned(table, ())
    return cleaned


def _cleaned(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _cleaned(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner, path) for inner in value]
    return REMOVED if value is not None and is_secret_key(path) else value


def secrets_of(spec: GuestSpec) -> tuple[str, ...]:
    """The secrets themselves, so that they can be looked for elsewhere."""
    return tuple(_found(plain(spec), ()))


def _found(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _found(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner, path)
    elif isinstance(value, str) and is_secret_key(path):
        yield value

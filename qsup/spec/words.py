"""What a key takes and what it is without a value, in words. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

import msgspec

from qsup.spec.base import Account, HostPath
from qsup.spec.codec import plain
from qsup.spec.explain import bare, metas
from qsup.spec.toml import value
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsup.spec.keys import Key

_KINDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "integer",
    str: "string",
    HostPath: "path",
    Account: "name or number",
    Size: "size",
    Duration: "duration",
}
EXAMPLES: Final[Mapping[Any, str]] = {
    Size: '"4 GiB"',
    Duration: '"90 s"',
    HostPath: '"/var/lib/qsup/web1.qcow2"',
}
"""How what is no plain string is written."""


def allowed(declared: Any, *, quote: str = '"') -> str:
    """What may be written: the words of an enumeration, each in ``quote``, or a kind of value."""
    kind = bare(declared)
    if get_origin(kind) is tuple:
        return f"array: {allowed(get_args(kind)[0], quote=quote)}"
    if get_origin(kind) is dict:
        return f"table: {allowed(get_args(kind)[1], quote=quote)} each"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"{quote}{member.value}{quote}" for member in kind)
    return _KINDS[kind]


def limits(declared: Any) -> str:
    """Within which limits a value must be, or of which form; the empty text where all of its kind will do."""
    kind = bare(declared)
    told = []
    for meta in metas(declared):
        if meta.ge is not None and meta.le is not None:
            told.append(f"{meta.ge} to {meta.le}")
        elif meta.ge is not None:
            told.append(f"at least {meta.ge}")
        if meta.max_length is not None and get_origin(kind) is tuple:
            told.append(f"at most {meta.max_length} of them")
        if meta.extra and "form" in meta.extra:
            told.append(str(meta.extra["form"]))
    inner = get_args(kind)
    if get_origin(kind) in (tuple, dict):
        told += [text for text in (limits(one) for one in inner if one is not Ellipsis) if text]
    return "; ".join(told)


def default(key: Key) -> str | None:
    """The default as a file would have it; the empty text if the key is simply not set, None if it must be."""
    if key.default is msgspec.NODEFAULT:
        return None
    if key.default is None or key.default == {}:
        return ""
    return value(plain(key.default))

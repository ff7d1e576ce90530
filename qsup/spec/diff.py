"""What an edited file would change, key by key. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from qsup.spec.codec import plain
from qsup.spec.model import LAUNCH_KEYS, LIVE_KEYS
from qsup.spec.secrets import is_secret_key
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.model import GuestSpec


class Change(msgspec.Struct, frozen=True):
    """One key whose value differs; None where it is absent. ``live``: it takes effect without a restart.

    The path of a family of devices, ``serial``, stands for their order.
    """

    path: str
    old: str | None
    new: str | None
    live: bool

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.old)} → {_shown(self.new)}"


def diff(old: GuestSpec, new: GuestSpec) -> tuple[Change, ...]:
    """The changes from one spec to another, in the order of the declarations."""
    moved = tuple(_moved(old, new))
    if old == new:
        return moved
    before, after = _flat(plain(old)), _flat(plain(new))
    changed = (
        Change(
            path,
            _open(before.get(path)),
            _open(after.get(path)),
            live=_is_live(path, before.get(path), after.get(path)),
        )
        for path in before | after
        if before.get(path) != after.get(path)
    )
    return (*changed, *moved)


def _moved(old: GuestSpec, new: GuestSpec) -> Iterator[Change]:
    """Devices whose order has changed: it decides which is ttyS0, and who has which slot."""
    for family in ("numa", "disk", "cdrom", "nic", "serial", "parallel", "share"):
        were, are = getattr(old, family), getattr(new, family)
        before = [name for name in were if name in are]
        after = [name for name in are if name in were]
        if before != after:
            yield Change(family, _text(before), _text(after), live=False)


def _is_live(path: str, old: str | None, new: str | None) -> bool:
    if path == "ready.check":
        # QEMU is only to be told where a guest's systemd reports.
        return ReadyCheck.NOTIFY not in (old, new)
    return path.partition(".")[0] in LIVE_KEYS and path not in LAUNCH_KEYS


class _Secret(str):
    """A value that is compared and not shown."""

    __slots__ = ()


def _flat(value: Any, path: tuple[str, ...] = ()) -> dict[str, str | None]:
    """Every leaf by its dotted path, as a guest file would write it; None for a key that is not set."""
    if isinstance(value, dict):
        leaves: dict[str, str | None] = {}
        for key, item in value.items():
            leaves |= _flat(item, (*path, key))
        return leaves
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return _flat({f"{path[-1]}[{number}]": item for number, item in enumerate(value)}, path[:-1])
    text = None if value is None else _text(value)
    return {".".join(path): _Secret(text) if text is not None and is_secret_key(path) else text}


def _open(value: str | None) -> str | None:
    return "(not shown)" if isinstance(value, _Secret) else value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return str(value)


def _shown(value: str | None) -> str:
    if value is None:
        return "(absent)"
    return value or '""'

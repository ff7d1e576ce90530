"""What all devices of a family have in common: `[disk."*"]` holds for every `[disk.ID]`, below what that says itself.

A profile cannot know how a guest calls its disks, and still has to say on which bus they sit. Pure.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import NODEFAULT

from qsup.spec.base import COMMON
from qsup.spec.explain import explain
from qsup.spec.keys import keys
from qsup.spec.layers import merged
from qsup.spec.model import GuestSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Finding, Section


def spread(table: dict[str, Any], base: str) -> tuple[dict[str, Any], list[Finding]]:
    """A guest's table with every `*` laid below its siblings, and what is wrong with those that have none.

    ``base`` is where relative paths start. What is wrong with the others shows in their siblings.
    """
    result = table
    findings: list[Finding] = []
    for family, section in _families().items():
        devices = table.get(family)
        common = devices.get(COMMON) if isinstance(devices, dict) else None
        if devices is None or not isinstance(common, dict):
            continue
        own = {name: device for name, device in devices.items() if name != COMMON}
        result = {**result, family: {name: _below(common, device) for name, device in own.items()}}
        if not own:
            findings += _alone(family, section, common, base)
    return result, findings


@cache
def _families() -> dict[str, type[Section]]:
    """The tables that hold tables by their ids, and what each of those is."""
    return {key.name: key.table for key in keys(GuestSpec) if key.many and key.table is not None}


def _below(common: dict[str, Any], device: Any) -> Any:
    return merged((common, device)) if isinstance(device, dict) else device


def _alone(family: str, section: type[Section], common: dict[str, Any], base: str) -> Iterator[Finding]:
    """What is wrong with a table by itself; that it lacks what a device needs is as it should be."""
    lacking = frozenset(key.name for key in keys(section) if key.default is NODEFAULT) - common.keys()
    for path, message in explain(section, common, base, skip=lacking):
        yield (family, COMMON, *path), message

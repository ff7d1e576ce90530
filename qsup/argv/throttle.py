"""Groups of disks that share limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.quote import as_json, sourced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.tables.throttle import Throttle


def options(draft: Draft) -> Iterator[Option]:
    """An object for each group, disks or none."""
    for name, throttle in draft.spec.throttle.items():
        group = {"qom-type": "throttle-group", "id": group_id(name), "limits": _limits(throttle)}
        yield from sourced(("throttle", name), [as_json("-object", group)])


def group_id(name: str) -> str:
    """The id of a group's object."""
    return f"throttle-{name}"


def _limits(throttle: Throttle) -> dict[str, int]:
    """QEMU's ThrottleLimits, whose members have the names of the keys: bytes, operations and whole seconds."""
    fields = zip(throttle.__struct_fields__, throttle.__struct_encode_fields__, strict=True)
    return {key: int(value) for field, key in fields if (value := getattr(throttle, field)) is not None}

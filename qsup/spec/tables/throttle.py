"""Limits for the I/O of disks. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from qsup.spec.base import Finding, Section, about, within
from qsup.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST: Final = 10**15
"""What QEMU takes at most, of bytes and of operations (THROTTLE_VALUE_MAX)."""
KINDS: Final = ("total", "read", "write")
Operations = Annotated[int, Meta(ge=1, le=MOST)]


def _limit(text: str, key: str) -> Any:
    return about(text, qemu=f"-object throttle-group,limits.{key}=")


def _burst(key: str) -> Any:
    return _limit(f"What a burst may reach beyond `{key}`.", f"{key}-max")


def _length(key: str) -> Any:
    return _limit(
        f"How long a burst may last at `{key}-max`: whole seconds; 1 s without it.", f"{key}-max-length"
    )


class Throttle(Section, frozen=True, kw_only=True):
    """Limits that all disks which name it share: `[throttle.ID]`."""

    bps_total: Annotated[Size | None, _limit("Bytes a second, read and written.", "bps-total")] = None
    bps_read: Annotated[Size | None, _limit("Bytes read a second.", "bps-read")] = None
    bps_write: Annotated[Size | None, _limit("Bytes written a second.", "bps-write")] = None
    bps_total_max: Annotated[Size | None, _burst("bps-total")] = None
    bps_read_max: Annotated[Size | None, _burst("bps-read")] = None
    bps_write_max: Annotated[Size | None, _burst("bps-write")] = None
    bps_total_max_length: Annotated[Duration | None, _length("bps-total")] = None
    bps_read_max_length: Annotated[Duration | None, _length("bps-read")] = None
    bps_write_max_length: Annotated[Duration | None, _length("bps-write")] = None
    iops_total: Annotated[Operations | None, _limit("Reads and writes a second.", "iops-total")] = None
    iops_read: Annotated[Operations | None, _limit("Reads a second.", "iops-read")] = None
    iops_write: Annotated[Operations | None, _limit("Writes a second.", "iops-write")] = None
    iops_total_max: Annotated[Operations | None, _burst("iops-total")] = None
    iops_read_max: Annotated[Operations | None, _burst("iops-read")] = None
    iops_write_max: Annotated[Operations | None, _burst("iops-write")] = None
    iops_total_max_length: Annotated[Duration | None, _length("iops-total")] = None
    iops_read_max_length: Annotated[Duration | None, _length("iops-read")] = None
    iops_write_max_length: Annotated[Duration | None, _length("iops-write")] = None
    iops_size: Annotated[
        Size | None,
        _limit("A larger read or write counts as several of this size.", "iops-size"),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """What QEMU refuses of its limits."""
        if not any(self._value(what, kind) for what in ("bps", "iops") for kind in KINDS):
            yield (), "limits nothing; write bps-total or iops-total, or one of the others"
        for what in ("bps", "iops"):
            yield from self._mixed(what)
            for kind in KINDS:
                yield from self._burst(what, kind)
        if self.iops_size is not None:
            if not any(self._value("iops", kind) for kind in KINDS):
                yield ("iops-size",), "is for iops-total, iops-read or iops-write, and none is set"
            yield from within("iops-size", self.iops_size, "1 B", "1 GiB")

    def _value(self, what: str, kind: str, rest: str = "") -> Any:
        return getattr(self, f"{what}_{kind}{rest}")

    def _mixed(self, what: str) -> Iterator[Finding]:
        """QEMU wants a total or its parts."""
        if self._value(what, "total") is None:
            return
        for kind in ("read", "write"):
            if self._value(what, kind) is not None:
                yield (
                    (f"{what}-{kind}",),
                    f"cannot stand beside {what}-total; write {what}-read and {what}-write",
                )

    def _burst(self, what: str, kind: str) -> Iterator[Finding]:
        key = f"{what}-{kind}"
        rate, burst, length = (self._value(what, kind, rest) for rest in ("", "_max", "_max_length"))
        if rate is not None and not 1 <= rate <= MOST:
            yield (key,), f"{rate} is out of range; allowed: 1 to {MOST}"
        if burst is not None and rate is None:
            yield (f"{key}-max",), f"needs {key}, which it is a burst over"
        elif burst is not None and burst < rate:
            yield (f"{key}-max",), f"{burst} is less than {key}, {rate}"
        if length is not None and burst is None:
            yield (f"{key}-max-length",), f"needs {key}-max, of which it is the length"
        elif length is not None and not (float(length).is_integer() and 1 <= length <= 3600):
            yield (f"{key}-max-length",), f"{length} is not allowed; write whole seconds, 1 s to 1 h"

"""What QEMU's answers say, strictly read: it may be lying, and only ids that are in the guest's file count. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from qsup.metrics.families import KVM
from qsup.metrics.readings import Count, Disk
from qsup.vitals.answers import vcpu_threads

DEVICE: Final = re.compile(r"(?:\A|/)disk-([A-Za-z][A-Za-z0-9_.-]{0,19})(?:/|\Z)", re.ASCII)
"""A disk's device: its id at ``/machine/peripheral``, whatever is below."""
COUNTERS: Final = {"target": "vcpu", "providers": [{"provider": "kvm", "names": list(KVM)}]}
"""The arguments of ``query-stats``, which QEMU has since 7.1."""


class _Blockstats(msgspec.Struct):
    stats: Disk
    qdev: str = ""


class _Balloon(msgspec.Struct):
    actual: Count


class _Stat(msgspec.Struct):
    name: str
    value: Any


class _Stats(msgspec.Struct):
    stats: list[_Stat]


def vcpus(answer: object, most: int) -> dict[int, int]:
    """Index and thread of each vCPU that the guest can have, out of ``query-cpus-fast``."""
    return {index: tid for index, tid in vcpu_threads(answer) if 0 <= index < most and tid > 0}


def disks(answer: object, ids: frozenset[str]) -> dict[str, Disk]:
    """The counters of the guest's disks, out of ``query-blockstats``."""
    try:
        found = msgspec.convert(answer, list[_Blockstats])
    except msgspec.ValidationError:
        return {}
    named = ((DEVICE.search(one.qdev), one.stats) for one in found)
    return {match[1]: stats for match, stats in named if match is not None and match[1] in ids}


def balloon(answer: object) -> int | None:
    """What the balloon leaves to the guest, out of ``query-balloon``."""
    try:
        return msgspec.convert(answer, _Balloon).actual
    except msgspec.ValidationError:
        return None


def kvm(answer: object) -> dict[str, int]:
    """The sums of KVM's counters over all vCPUs, out of ``query-stats``."""
    try:
        found = msgspec.convert(answer, list[_Stats])
    except msgspec.ValidationError:
        return {}
    sums: dict[str, int] = {}
    for vcpu in found:
        for stat in vcpu.stats:
            if stat.name in KVM and type(stat.value) is int and 0 <= stat.value < 1 << 63:
                sums[stat.name] = sums.get(stat.name, 0) + stat.value
    return sums

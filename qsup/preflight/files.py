"""The files that a guest's tables name, beside its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.preflight.obstacle import DEVICES, REGULAR, SOURCES, Obstacle, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.preflight.obstacle import Plan


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """The kernel, the initrd, cloud-init's seed, random numbers, what the firmware hands over, parallel ports."""
    spec = plan.spec
    for key, file in (("kernel", spec.boot.kernel), ("initrd", spec.boot.initrd)):
        if file is not None:
            yield from unusable(("boot", key), file, REGULAR)
    if (seed := spec.cloud_init) is not None:
        for key in ("password-hash-file", "user-data", "network-config"):
            file = getattr(seed, key.replace("-", "_"))
            if file is not None:
                yield from unusable(("cloud-init", key), file, REGULAR)
    if spec.rng.enabled:
        yield from unusable(("rng", "source"), spec.rng.source, SOURCES)
    for family, items in (("fw-cfg", spec.fw_cfg), ("credential", spec.credential)):
        for name, item in items.items():
            if item.file is not None:
                yield from unusable((family, name, "file"), item.file, REGULAR)
    for name, parallel in spec.parallel.items():
        if parallel.device is not None:
            yield from unusable(("parallel", name, "device"), parallel.device, DEVICES)

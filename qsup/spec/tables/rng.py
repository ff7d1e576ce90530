"""The source of random numbers. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from qsup.spec.base import Finding, HostPath, Section, about, within
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator


class Rng(Section, frozen=True, kw_only=True):
    """A virtio source of random numbers."""

    enabled: Annotated[bool, about("Whether the guest has it.", qemu="-device virtio-rng-pci")] = False
    source: Annotated[
        HostPath, about("The host's device that feeds it.", qemu="-object rng-random,filename=")
    ] = HostPath("/dev/urandom")
    rate: Annotated[
        Size | None,
        about(
            "How much the guest gets in a second; without it as much as it asks for.",
            qemu="-device virtio-rng-pci,max-bytes=,period=",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """A rate at which nothing would come."""
        if self.rate is not None:
            yield from within("rate", self.rate, "1 B", "1 TiB")

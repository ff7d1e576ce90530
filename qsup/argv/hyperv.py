"""Hyper-V enlightenments, which stand among the features of the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsup.spec.model import GuestSpec


def enlightenments(spec: GuestSpec) -> dict[str, bool | int | str]:
    """The features of ``-cpu`` by QEMU's names, ``hv-relaxed``; only KVM has them."""
    return {f"hv-{key}": value for key, value in spec.hyperv.features().items()}

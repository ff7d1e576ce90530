"""Names of CPU features: QEMU's own, for those that libvirt or an older QEMU writes otherwise."""

from __future__ import annotations

from typing import Final

_RENAMED: Final = {"pclmuldq": "pclmulqdq", "sse4_1": "sse4.1", "sse4_2": "sse4.2"}
_GONE: Final = frozenset({"osxsave", "ospke", "pconfig", "cmt", "mbm_total", "mbm_local", "check", "enforce"})
"""What QEMU has no switch for (any more), or what is none of the guest's: libvirt leaves it out as well."""


def feature_name(name: str) -> str | None:
    """A feature's name in QEMU's words; None if there is nothing to switch."""
    if name in _GONE:
        return None
    return _RENAMED.get(name, name.replace("_", "-"))

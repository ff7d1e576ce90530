"""What is started. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from qsup.spec.base import Finding, HostPath, Identifier, Section, Text, about, within
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


class Boot(Section, frozen=True, kw_only=True):
    """What the firmware starts, or the kernel that QEMU loads itself."""

    order: Annotated[
        tuple[Identifier, ...],
        about(
            "Ids of disks, CD-ROMs and NICs in the order in which the firmware tries them.",
            qemu="-device …,bootindex=",
            max_length=64,
        ),
    ] = ()
    menu: Annotated[
        bool, about("Whether the firmware offers a menu of what can be booted.", qemu="-boot menu=")
    ] = False
    menu_timeout: Annotated[
        Duration | None,
        about(
            "How long the menu waits for a key; without it as the firmware likes.", qemu="-boot splash-time="
        ),
    ] = None
    kernel: Annotated[
        HostPath | None,
        about("A Linux kernel that QEMU loads directly, without a boot loader.", qemu="-kernel"),
    ] = None
    initrd: Annotated[HostPath | None, about("The initial RAM disk for `kernel`.", qemu="-initrd")] = None
    cmdline: Annotated[Text, about("The command line for `kernel`.", qemu="-append")] = ""

    def wrong(self) -> Iterator[Finding]:
        """What is for a kernel or a menu only."""
        if self.menu_timeout is not None:
            yield from within("menu-timeout", self.menu_timeout, "1 ms", "65 s")
            if not self.menu:
                yield ("menu-timeout",), "needs menu = true"
        if self.kernel is None:
            for key in ("initrd", "cmdline"):
                if getattr(self, key):
                    yield (key,), "needs boot.kernel: the firmware loads a boot loader of its own"

"""What is started: the boot order, or a kernel that QEMU loads itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.invocation import Option
from qsup.argv.quote import pairs
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft


def options(draft: Draft) -> Iterator[Option]:
    """With an order the firmware tries the devices in it and no other; `bootindex` stands at the devices."""
    boot = draft.spec.boot
    if boot.order:
        yield Option("-boot", pairs(strict=True))
    if boot.kernel is None:
        if boot.initrd is not None or boot.cmdline:
            raise SpecError("boot.initrd and boot.cmdline are for boot.kernel, which is not set")
        return
    yield Option("-kernel", boot.kernel)
    if boot.initrd is not None:
        yield Option("-initrd", boot.initrd)
    if boot.cmdline:
        yield Option("-append", boot.cmdline)

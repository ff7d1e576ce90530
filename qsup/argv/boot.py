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
    """With an order the firmware tries the devices in it and no other; `bootindex` stands at the devices.

    The time of the menu is told in milliseconds.
    """
    boot = draft.spec.boot
    words: dict[str, str | int | bool] = {}
    if boot.order:
        words["strict"] = True
    if boot.menu:
        words["menu"] = True
        if boot.menu_timeout is not None:
            words["splash_time"] = round(boot.menu_timeout * 1000)
    if words:
        yield Option("-boot", pairs(**words))
    if boot.kernel is None:
        if boot.initrd is not None or boot.cmdline:
            raise SpecError("boot.initrd and boot.cmdline are for boot.kernel, which is not set")
        return
    yield Option("-kernel", boot.kernel)
    if boot.initrd is not None:
        yield Option("-initrd", boot.initrd)
    if boot.cmdline:
        yield Option("-append", boot.cmdline)

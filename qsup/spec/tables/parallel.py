"""Parallel ports. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from qsup.spec.base import Finding, HostPath, Section, about

if TYPE_CHECKING:
    from collections.abc import Iterator


class Parallel(Section, frozen=True, kw_only=True):
    """A parallel port: `[parallel.ID]`."""

    device: Annotated[
        HostPath | None,
        about(
            "A parallel port of the host, `/dev/parport0`, that becomes the guest's.",
            qemu="-chardev parallel,path=",
        ),
    ] = None
    file: Annotated[
        HostPath | None,
        about("A file to which is added what the guest prints.", qemu="-chardev file,path="),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Of its two ends exactly one."""
        if self.file is None and self.device is None:
            yield (), "needs `device` or `file`"
        elif self.file is not None and self.device is not None:
            yield ("file",), "stands beside `device`; a port has one other end"

"""Files that the firmware's configuration device hands to the guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from qsup.spec.base import Finding, HostPath, Section, Text, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

FW_CFG: Final = form(
    r"^opt/[A-Za-z0-9][A-Za-z0-9_.:@+/-]{0,50}$(?!\n)",
    'a name is "opt/", a letter or digit, then up to 50 letters, digits, or any of _ . : @ + / -',
)
"""QEMU leaves users the names below `opt/`, of 55 bytes at most."""


class FwCfg(Section, frozen=True, kw_only=True):
    """A small file for the guest: `[fw-cfg.ID]`. Linux shows it as `/sys/firmware/qemu_fw_cfg/by_name/NAME/raw`."""

    name: Annotated[
        Annotated[str, FW_CFG] | None,
        about("Its name; without it `opt/qsup/ID`.", qemu="-fw_cfg name="),
    ] = None
    text: Annotated[
        Annotated[Text, Meta(min_length=1)] | None,
        about(
            "What it holds. It stands in QEMU's command line, so it can be no secret.", qemu="-fw_cfg string="
        ),
    ] = None
    file: Annotated[
        HostPath | None,
        about("A file of the host instead, read as QEMU starts.", qemu="-fw_cfg file="),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Of its two sources exactly one."""
        if self.file is None and self.text is None:
            yield (), "needs `text` or `file`"
        elif self.file is not None and self.text is not None:
            yield ("text",), "stands beside `file`; it has one source"

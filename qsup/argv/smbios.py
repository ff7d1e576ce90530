"""The firmware's tables: what QEMU's ``-smbios`` says of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import Option
from qsup.argv.quote import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

TABLES: Final[dict[int, dict[str, str]]] = {
    0: {name: f"bios_{name}" for name in ("vendor", "version", "date", "release")},
    1: {name: name for name in ("manufacturer", "product", "version", "serial", "sku", "family")},
    2: {name: f"board_{name}" for name in ("manufacturer", "product", "version", "serial", "asset")},
    3: {name: f"chassis_{name}" for name in ("manufacturer", "version", "serial", "asset")},
}
"""By the number of the table in the standard: QEMU's names of its texts, and the fields that hold them."""
OEM_STRINGS: Final = 11


def options(draft: Draft) -> Iterator[Option]:
    """The tables in which something is set; QEMU fills in the rest."""
    smbios = draft.spec.smbios
    for number, fields in TABLES.items():
        texts = {name: getattr(smbios, field) for name, field in fields.items()}
        present = {name: text for name, text in texts.items() if text is not None}
        if present:
            yield Option("-smbios", pairs(f"type={number}", **present))
    if smbios.oem_strings:
        value = f"type={OEM_STRINGS}"
        for text in smbios.oem_strings:
            value = pairs(value, value=text)
        yield Option("-smbios", value)

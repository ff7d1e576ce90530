"""Serial ports: 16550s on the ISA bus, which all machine types have, each on a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.draft import serial_file
from qsup.argv.invocation import Option
from qsup.argv.quote import device
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

PORTS: Final = 4
"""COM1 to COM4: QEMU knows I/O addresses for no more."""


def options(draft: Draft) -> Iterator[Option]:
    """The first table is the guest's ttyS0."""
    if len(draft.spec.serial) > PORTS:
        raise SpecError(f"there are {len(draft.spec.serial)} serial ports; a guest can have {PORTS}")
    for index, port in enumerate(draft.spec.serial):
        name = f"serial-{port}"
        yield Option("-chardev", draft.socket(name, serial_file(port)))
        yield device({"driver": "isa-serial", "id": name, "chardev": name, "index": index})

"""Serial ports, each on a socket: 16550s on the ISA bus, which all machine types have, and other kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from qsup.argv import usb, virtio_serial
from qsup.argv.board import BRIDGE_SLOTS_SERIAL, slot
from qsup.argv.draft import serial_file
from qsup.argv.invocation import Option
from qsup.argv.quote import device, sourced
from qsup.errors import SpecError
from qsup.spec.tables.serial import SerialType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.model import GuestSpec

ISA_PORTS: Final = 4
"""COM1 to COM4: QEMU knows I/O addresses for no more."""


def options(draft: Draft) -> Iterator[Option]:
    """Each kind counts its own: the first table of type `isa` is the guest's ttyS0."""
    for port, serial in draft.spec.serial.items():
        yield from sourced(("serial", port), _port(draft, port, serial.type))


def is_on_bridge(spec: GuestSpec) -> bool:
    """Whether one of the ports stands behind the PCI bridge."""
    return bool(_of(spec, SerialType.PCI))


def _port(draft: Draft, port: str, kind: SerialType) -> Iterator[Option]:
    name = f"serial-{port}"
    yield Option("-chardev", draft.socket(name, serial_file(port)))
    yield device({**_place(draft, port, kind), "id": name, "chardev": name, **_isa_index(draft, port, kind)})


def _place(draft: Draft, port: str, kind: SerialType) -> dict[str, object]:
    match kind:
        case SerialType.ISA:
            return {"driver": "isa-serial"}
        case SerialType.VIRTIO:
            return {"driver": "virtconsole", **virtio_serial.console_port(draft.spec, port)}
        case SerialType.PCI:
            index = _of(draft.spec, kind).index(port)
            return draft.board.behind("pci-serial", slot("PCI serial ports", BRIDGE_SLOTS_SERIAL, index))
        case SerialType.USB:
            # Else the adapter would be plugged in and out as the supervisor comes and goes.
            plugged = {"always-plugged": True}
            return {"driver": "usb-serial", **usb.port(draft.spec, f"serial-{port}"), **plugged}
        case never:
            assert_never(never)


def _isa_index(draft: Draft, port: str, kind: SerialType) -> dict[str, object]:
    if kind is not SerialType.ISA:
        return {}
    ports = _of(draft.spec, kind)
    if len(ports) > ISA_PORTS:
        raise SpecError(f"there are {len(ports)} ISA serial ports; a guest can have {ISA_PORTS}")
    return {"index": ports.index(port)}


def _of(spec: GuestSpec, kind: SerialType) -> list[str]:
    return [port for port, serial in spec.serial.items() if serial.type is kind]

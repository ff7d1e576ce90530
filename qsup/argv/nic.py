"""Network cards, and what they are connected to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, assert_never

from qsup.argv.board import SLOTS_NIC, Board, slot
from qsup.argv.quote import as_json, device
from qsup.errors import SpecError
from qsup.spec.devices import NicModel, NicType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.devices import Nic


def options(draft: Draft) -> Iterator[Option]:
    """For each NIC its host side (`net-ID`) and its card (`nic-ID`)."""
    for index, (name, nic) in enumerate(draft.spec.nic.items()):
        yield as_json("-netdev", {"type": nic.type, "id": f"net-{name}", **_connection(name, nic)})
        card = f"nic-{name}"
        yield device(
            {
                **_card(draft.board, nic.model, slot("NICs", SLOTS_NIC, index)),
                "id": card,
                "netdev": f"net-{name}",
                "mac": nic.mac or derived_mac(draft.spec.name, name),
                "bootindex": draft.boot_index.get(card),
                **_boot_rom(draft, card),
            }
        )


def derived_mac(guest: str, nic: str) -> str:
    """A MAC address in QEMU's own range that depends on the names alone."""
    return "52:54:00:" + hashlib.sha256(f"{guest}/{nic}".encode()).digest()[:3].hex(":")


def _connection(name: str, nic: Nic) -> dict[str, object]:
    match nic.type:
        case NicType.USER:
            return {"hostfwd": [{"str": _hostfwd(rule)} for rule in nic.forward] or None}
        case NicType.TAP:
            if nic.interface is None:
                raise SpecError(f'nic.{name}: type = "tap" needs `interface`, the name of a tap interface')
            # The interface is the administrator's: QEMU must not run scripts to set it up or tear it down.
            return {"ifname": nic.interface, "script": "no", "downscript": "no"}
        case NicType.BRIDGE:
            if nic.bridge is None:
                raise SpecError(f'nic.{name}: type = "bridge" needs `bridge`, the name of a bridge')
            return {"br": nic.bridge, "helper": _helper(name, nic)}
        case never:
            assert_never(never)


def _hostfwd(rule: str) -> str:
    """``tcp:127.0.0.1:8080:80`` as QEMU writes it: ``tcp:127.0.0.1:8080-:80``."""
    outside, _, guest_port = rule.rpartition(":")
    return f"{outside}-:{guest_port}"


def _helper(name: str, nic: Nic) -> str | None:
    """QEMU gives a helper with a blank in its path to a shell, which would take it for a command line."""
    if nic.helper is not None and any(blank in nic.helper for blank in " \t"):
        raise SpecError(
            f"nic.{name}: helper has a blank in its path, with which QEMU would run it through a shell"
        )
    return nic.helper


def _card(board: Board, model: NicModel, at: int) -> dict[str, object]:
    if model is NicModel.VIRTIO_NET:
        return board.virtio("net", at)
    return board.pci(model, at)


def _boot_rom(draft: Draft, card: str) -> dict[str, object]:
    """A card that nothing is booted from is spared its PXE ROM, which takes the firmware time. A microvm's has none."""
    return {} if card in draft.boot_index or draft.board is Board.MICROVM else {"romfile": ""}

"""Network cards; what they are connected to is in :mod:`qsup.argv.netdev`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from qsup.argv.board import SLOTS_NIC, Board, slot
from qsup.argv.invocation import QmpCommand
from qsup.argv.netdev import connection, queues
from qsup.argv.quote import device, sourced
from qsup.errors import SpecError
from qsup.spec.tables.nic import NicModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.tables.nic import Nic


def options(draft: Draft) -> Iterator[Option]:
    """For each NIC its host side (`net-ID`) and its card (`nic-ID`)."""
    for index, (name, nic) in enumerate(draft.spec.nic.items()):
        yield from sourced(("nic", name), _nic(draft, index, name, nic))


def _nic(draft: Draft, index: int, name: str, nic: Nic) -> Iterator[Option]:
    yield from connection(draft, name, nic)
    card = f"nic-{name}"
    yield device(
        {
            **_card(draft.board, name, nic, slot("NICs", SLOTS_NIC, index)),
            "id": card,
            "netdev": f"net-{name}",
            "mac": nic.mac or derived_mac(draft.spec.name, name),
            "bootindex": draft.boot_index.get(card),
            **_boot_rom(draft, card),
        }
    )


def commands(draft: Draft) -> Iterator[QmpCommand]:
    """Take out the cables that are to be out: no property of a card says so, and each starts with its own in."""
    for name, nic in draft.spec.nic.items():
        if not nic.link:
            yield QmpCommand("set_link", {"name": f"nic-{name}", "up": False})


def derived_mac(guest: str, nic: str) -> str:
    """A MAC address in QEMU's own range that depends on the names alone."""
    return "52:54:00:" + hashlib.sha256(f"{guest}/{nic}".encode()).digest()[:3].hex(":")


def _card(board: Board, name: str, nic: Nic, at: int) -> dict[str, object]:
    if nic.model is NicModel.VIRTIO_NET:
        return {**board.virtio("net", at), "host_mtu": nic.mtu, **_queues(board, nic)}
    if nic.mtu is not None or queues(nic):
        raise SpecError(f'nic.{name}: only model = "virtio-net" has `mtu` and `queues`')
    return board.pci(nic.model, at)


def _queues(board: Board, nic: Nic) -> dict[str, object]:
    """On PCI each queue has an interrupt for each direction; the control queue and the configuration have one, too."""
    count = queues(nic)
    if count is None:
        return {}
    return {"mq": True} if board is Board.MICROVM else {"mq": True, "vectors": 2 * count + 2}


def _boot_rom(draft: Draft, card: str) -> dict[str, object]:
    """A card that nothing is booted from is spared its PXE ROM, which takes the firmware time. A microvm's has none."""
    return {} if card in draft.boot_index or draft.board is Board.MICROVM else {"romfile": ""}

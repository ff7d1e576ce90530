"""The guest's video card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import SLOT_VIDEO, Board
from qsup.argv.quote import device
from qsup.errors import SpecError
from qsup.spec.screen import video_card
from qsup.spec.tables.video import VideoType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option

CARD: Final = "video"
PCI: Final[Mapping[VideoType, str]] = {
    VideoType.STD: "VGA",
    VideoType.CIRRUS: "cirrus-vga",
    VideoType.QXL: "qxl-vga",
    VideoType.VIRTIO: "virtio-vga",
    VideoType.VIRTIO_GL: "virtio-vga-gl",
    VideoType.BOCHS: "bochs-display",
    VideoType.VMWARE: "vmware-svga",
}
"""The drivers of PCI cards; those of virtio are a VGA as well, which firmware and boot loaders can use."""
MMIO: Final[Mapping[VideoType, str]] = {VideoType.VIRTIO: "gpu", VideoType.VIRTIO_GL: "gpu-gl"}
MIB: Final = 1 << 20


def options(draft: Draft) -> Iterator[Option]:
    """The card, if there is one."""
    card = video_card(draft.spec)
    if card is VideoType.NONE:
        return
    yield device({**_place(draft.board, card), "id": CARD, **_properties(draft, card)})


def _place(board: Board, card: VideoType) -> dict[str, object]:
    if card is VideoType.RAMFB:
        return {"driver": "ramfb"}
    if board is Board.MICROVM and card in MMIO:
        return board.virtio(MMIO[card], SLOT_VIDEO)
    return board.pci(PCI[card], SLOT_VIDEO)


def _properties(draft: Draft, card: VideoType) -> dict[str, object]:
    video = draft.spec.video
    properties: dict[str, object] = {"max_outputs": video.heads}
    if video.memory is not None and card is VideoType.BOCHS:
        properties["vgamem"] = int(video.memory)
    elif video.memory is not None:
        properties["vgamem_mb"] = _mib(int(video.memory))
    if video.resolution is not None:
        width, _, height = video.resolution.partition("x")
        properties |= {"xres": int(width), "yres": int(height)}
    return properties


def _mib(memory: int) -> int:
    if memory < MIB or memory % MIB:
        raise SpecError("video.memory must be whole MiB, at least one")
    return memory // MIB

"""The guest's video card. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from qsup.spec.base import Finding, Section, about, form
from qsup.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RESOLUTION: Final = form(
    r"^[1-9][0-9]{2,4}x[1-9][0-9]{2,4}$(?!\n)", 'write width and height in pixels: "1920x1080"'
)


class VideoType(StrEnum):
    """The video card that the guest sees."""

    NONE = "none"
    STD = "std"
    CIRRUS = "cirrus"
    QXL = "qxl"
    VIRTIO = "virtio"
    VIRTIO_GL = "virtio-gl"
    BOCHS = "bochs"
    RAMFB = "ramfb"
    VMWARE = "vmware"


class Range(NamedTuple):
    """From where to where a quantity goes, as a file would have it."""

    least: str
    most: str


MEMORY: Final[Mapping[VideoType, Range]] = {
    VideoType.STD: Range("1 MiB", "512 MiB"),
    VideoType.CIRRUS: Range("4 MiB", "16 MiB"),
    VideoType.QXL: Range("8 MiB", "256 MiB"),
    VideoType.BOCHS: Range("4 MiB", "256 MiB"),
    VideoType.VMWARE: Range("1 MiB", "512 MiB"),
}
"""Cards whose memory can be chosen; QEMU silently takes another amount where it is no power of two."""
SEVERAL_HEADS: Final = frozenset({VideoType.QXL, VideoType.VIRTIO, VideoType.VIRTIO_GL})
WITH_RESOLUTION: Final = SEVERAL_HEADS | {VideoType.STD, VideoType.BOCHS}


class Video(Section, frozen=True, kw_only=True):
    """The guest's video card."""

    type: Annotated[
        VideoType | None,
        about(
            "`std`: a VGA that all systems know; `virtio`; `virtio-gl`: the same with 3D, with `display.gl`; `qxl`, for SPICE; `bochs`: like `std` without the old text modes; `ramfb`: no more than what UEFI shows; `cirrus` and `vmware`, for what knows no other; `none`. Without it, if there is a display: `virtio-gl` with `display.gl`, `virtio` on a microvm, else `std`.",
            qemu="-device VGA|cirrus-vga|qxl-vga|virtio-vga|virtio-vga-gl|bochs-display|ramfb|vmware-svga",
        ),
    ] = None
    memory: Annotated[
        Size | None,
        about(
            "The memory of the picture, which bounds its size; a power of two. For `std`, `cirrus`, `qxl`, `bochs` and `vmware`. Without it 16 MiB; 4 MiB for `cirrus`.",
            qemu="-device VGA,vgamem_mb=",
        ),
    ] = None
    heads: Annotated[
        Annotated[int, Meta(ge=1, le=16)] | None,
        about(
            "How many screens can be plugged in; for `virtio`, `virtio-gl` and `qxl`. A VNC viewer sees the first.",
            qemu="-device virtio-vga,max_outputs=",
        ),
    ] = None
    resolution: Annotated[
        Annotated[str, RESOLUTION] | None,
        about(
            "What the screen tells the guest that it likes best. For `std`, `virtio`, `virtio-gl`, `qxl` and `bochs`.",
            qemu="-device VGA,xres=,yres=",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """An amount of memory that is no power of two; how much a card can have depends on the card."""
        if self.memory is not None and self.memory.bit_count() != 1:
            yield ("memory",), f"{self.memory} is no power of two"

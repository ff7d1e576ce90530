"""What a guest has for its screen, keyboard, pointer and sound, keys that are not set included. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.spec.base import within
from qsup.spec.boards import BoardKind
from qsup.spec.tables.display import DisplayType
from qsup.spec.tables.input import Keyboard, Pointer
from qsup.spec.tables.machine import UsbController
from qsup.spec.tables.sound import SoundBackend, SoundModel
from qsup.spec.tables.video import MEMORY, SEVERAL_HEADS, WITH_RESOLUTION, VideoType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qsup.spec.base import Finding
    from qsup.spec.model import GuestSpec


def video_card(spec: GuestSpec) -> VideoType:
    """The video card: the one that the file names, else the one that goes with the display."""
    if spec.video.type is not None:
        return spec.video.type
    if spec.display.type is DisplayType.NONE:
        return VideoType.NONE
    if spec.display.draws:
        return VideoType.VIRTIO_GL
    return VideoType.VIRTIO if _is_microvm(spec) else VideoType.STD


def keyboard(spec: GuestSpec) -> Keyboard | None:
    """The keyboard; None where there is none at all."""
    if spec.input.keyboard is not None:
        return spec.input.keyboard
    if not _is_microvm(spec):
        return Keyboard.PS2
    return None if spec.display.type is DisplayType.NONE else Keyboard.VIRTIO


def pointer(spec: GuestSpec) -> Pointer | None:
    """The pointer; None where there is none at all."""
    if spec.input.pointer is not None:
        return spec.input.pointer
    if spec.display.type is DisplayType.NONE:
        return None if _is_microvm(spec) else Pointer.PS2
    if _is_microvm(spec):
        return Pointer.VIRTIO_TABLET
    return Pointer.PS2 if spec.machine.usb is UsbController.NONE else Pointer.USB_TABLET


def sound_backend(spec: GuestSpec) -> SoundBackend:
    """Where the sound goes."""
    if spec.sound.backend is not None:
        return spec.sound.backend
    return SoundBackend.SPICE if spec.display.type is DisplayType.SPICE else SoundBackend.NONE


def screen(spec: GuestSpec) -> Iterator[Finding]:
    """What of these tables does not go together, or not with the board."""
    yield from _card(spec)
    if video_card(spec) is VideoType.VIRTIO_GL and not spec.display.draws:
        yield ("video", "type"), '"virtio-gl" needs display.gl = true, or display.type = "egl-headless"'
    if sound_backend(spec) is SoundBackend.SPICE and spec.display.type is not DisplayType.SPICE:
        yield ("sound", "backend"), '"spice" needs display.type = "spice"'
    if _is_microvm(spec):
        yield from _on_microvm(spec)


def _card(spec: GuestSpec) -> Iterator[Finding]:
    """Keys that only some cards have."""
    card, video = video_card(spec), spec.video
    if video.memory is not None:
        if card in MEMORY:
            yield from _in_video(within("memory", video.memory, *MEMORY[card]))
        else:
            yield ("video", "memory"), _not_for(card, MEMORY)
    if video.heads is not None and card not in SEVERAL_HEADS:
        yield ("video", "heads"), _not_for(card, SEVERAL_HEADS)
    if video.resolution is not None and card not in WITH_RESOLUTION:
        yield ("video", "resolution"), _not_for(card, WITH_RESOLUTION)


def _in_video(findings: Iterator[Finding]) -> Iterator[Finding]:
    return ((("video", *path), message) for path, message in findings)


def _not_for(card: VideoType, others: Collection[VideoType]) -> str:
    which = ", ".join(f'"{other}"' for other in VideoType if other in others)
    return f'belongs to video.type = {which}, and the card is "{card}"'


def _on_microvm(spec: GuestSpec) -> Iterator[Finding]:
    if video_card(spec) not in {VideoType.VIRTIO, VideoType.VIRTIO_GL, VideoType.RAMFB, VideoType.NONE}:
        yield ("video", "type"), 'a microvm has no PCI bus; use "virtio"'
    if keyboard(spec) not in {None, Keyboard.VIRTIO}:
        yield ("input", "keyboard"), 'a microvm has neither PS/2 nor USB; use "virtio"'
    if pointer(spec) not in {None, Pointer.VIRTIO_TABLET, Pointer.VIRTIO_MOUSE}:
        yield ("input", "pointer"), 'a microvm has neither PS/2 nor USB; use "virtio-tablet"'
    if spec.sound.model not in {SoundModel.NONE, SoundModel.VIRTIO}:
        yield ("sound", "model"), 'a microvm has no PCI bus; use "virtio"'


def _is_microvm(spec: GuestSpec) -> bool:
    return BoardKind.of(spec.machine.type) is BoardKind.MICROVM

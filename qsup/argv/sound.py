"""The guest's sound card, and where its sound goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from qsup.argv import usb
from qsup.argv.board import SLOT_SOUND, Board
from qsup.argv.quote import as_json, device
from qsup.errors import SpecError
from qsup.spec.screen import sound_backend
from qsup.spec.tables.sound import NEEDED, SoundBackend, SoundModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.invocation import Option
    from qsup.spec.model import GuestSpec

BACKEND: Final = "sound"
CARD: Final = usb.SOUND


def is_there(spec: GuestSpec) -> bool:
    """Whether the guest has a sound card."""
    return spec.sound.model is not SoundModel.NONE


def options(draft: Draft) -> Iterator[Option]:
    """The backend, then the card."""
    if not is_there(draft.spec):
        return
    yield _backend(draft)
    yield from _card(draft)


def environment(draft: Draft) -> Iterator[tuple[str, str]]:
    """Where PipeWire's server is: QEMU has no option that says so."""
    sound = draft.spec.sound
    if is_there(draft.spec) and sound.backend is SoundBackend.PIPEWIRE and sound.server is not None:
        yield "PIPEWIRE_REMOTE", sound.server


def _backend(draft: Draft) -> Option:
    sound, backend = draft.spec.sound, sound_backend(draft.spec)
    for key, kinds in NEEDED.items():
        if backend in kinds and getattr(sound, key) is None:
            raise SpecError(f'sound.backend = "{backend}" needs `{key}`')
    server = None
    if sound.server is not None and backend is not SoundBackend.PIPEWIRE:
        server = f"unix:{sound.server}"
    return as_json("-audiodev", {"driver": backend, "id": BACKEND, "path": sound.file, "server": server})


def _card(draft: Draft) -> Iterator[Option]:
    board, model = draft.board, draft.spec.sound.model
    match model:
        case SoundModel.HDA:
            controller = "ich9-intel-hda" if board is Board.Q35 else "intel-hda"
            yield device({**board.pci(controller, SLOT_SOUND), "id": CARD})
            # From a file nothing can be recorded.
            codec = "hda-output" if draft.spec.sound.backend is SoundBackend.WAV else "hda-duplex"
            yield device({"driver": codec, "bus": f"{CARD}.0", "id": f"{CARD}-codec", "audiodev": BACKEND})
        case SoundModel.AC97 | SoundModel.ES1370:
            yield _on(board.pci(model.upper(), SLOT_SOUND))
        case SoundModel.SB16 if board is Board.MICROVM:
            raise SpecError("sound: the ISA bus of a microvm has no DMA, which sb16 needs; use virtio")
        case SoundModel.SB16:
            yield _on({"driver": "sb16"})
        case SoundModel.USB:
            yield _on({"driver": "usb-audio", **usb.port(draft.spec, CARD)})
        case SoundModel.VIRTIO:
            yield _on(board.virtio("sound", SLOT_SOUND))
        case SoundModel.NONE:
            pass
        case never:
            assert_never(never)


def _on(place: dict[str, object]) -> Option:
    return device({**place, "id": CARD, "audiodev": BACKEND})

"""The guest's sound card. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, HostPath, Section, about

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class SoundModel(StrEnum):
    """The sound card that the guest sees."""

    NONE = "none"
    HDA = "hda"
    AC97 = "ac97"
    ES1370 = "es1370"
    SB16 = "sb16"
    USB = "usb"
    VIRTIO = "virtio"


class SoundBackend(StrEnum):
    """Where its sound goes."""

    NONE = "none"
    SPICE = "spice"
    ALSA = "alsa"
    PA = "pa"
    PIPEWIRE = "pipewire"
    WAV = "wav"


NEEDED: Final[Mapping[str, tuple[SoundBackend, ...]]] = {
    "file": (SoundBackend.WAV,),
    "server": (SoundBackend.PA, SoundBackend.PIPEWIRE),
}
"""The key without which a backend makes no sense, and those that have it."""


class Sound(Section, frozen=True, kw_only=True):
    """The guest's sound card. A VNC viewer that knows how (GTK's do) plays it, whatever the backend."""

    model: Annotated[
        SoundModel,
        about(
            "`hda`, which all newer systems know; `ac97`, `es1370`, `sb16`, for older ones; `usb`; `virtio`, since QEMU 8.2; `none`.",
            qemu="-device ich9-intel-hda|AC97|ES1370|sb16|usb-audio|virtio-sound-pci",
        ),
    ] = SoundModel.NONE
    backend: Annotated[
        SoundBackend | None,
        about(
            "`spice`: the viewer; `alsa`: the host's sound card; `pa`: PulseAudio; `pipewire`, since QEMU 8.1; `wav`: a file; `none`. Without it `spice` if the display is, else `none`.",
            qemu="-audiodev DRIVER",
        ),
    ] = None
    file: Annotated[
        HostPath | None,
        about("For `wav`: the file, begun anew when the guest begins to play.", qemu="-audiodev wav,path="),
    ] = None
    server: Annotated[
        HostPath | None,
        about(
            "For `pa` and `pipewire`: the socket of the server, such as `/run/user/1000/pulse/native` or `/run/user/1000/pipewire-0`.",
            qemu="-audiodev pa,server=; PIPEWIRE_REMOTE in QEMU's environment",
        ),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Keys without a card, or of another backend."""
        for key, kinds in NEEDED.items():
            given = getattr(self, key) is not None
            if given and self.backend not in kinds:
                which = " or ".join(f'"{kind}"' for kind in kinds)
                yield (key,), f"belongs to backend = {which}"
            elif not given and self.backend in kinds:
                yield (key,), f'is missing; backend = "{self.backend}" needs it'
        if self.backend is SoundBackend.PA and len((self.server or "").split()) > 1:
            yield ("server",), "has blanks, at which PulseAudio would end the path"
        if self.backend not in (None, SoundBackend.NONE) and self.model is SoundModel.NONE:
            yield ("backend",), "needs `model`: there is no sound card"

"""The real QEMUs take every video card, keyboard, pointer and sound card, on every board that has its bus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from qsup import clock
from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import MADE
from qsup.preflight import command
from qsup.preflight.obstacle import Plan
from qsup.probe.prober import Prober
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.screen import screen
from qsup.spec.tables.display import Display, DisplayType
from qsup.spec.tables.input import Input, Keyboard, Pointer
from qsup.spec.tables.machine import Accel, Machine
from qsup.spec.tables.sound import Sound, SoundBackend, SoundModel
from qsup.spec.tables.video import MEMORY, SEVERAL_HEADS, WITH_RESOLUTION, Video, VideoType
from qsup.units import Size
from tests.functional.test_argv_accepted import launch
from tests.golden.cases import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

BOARDS = ("q35", "pc", "microvm")
PROBER = Prober(None, clock.boot_id())
VNC = Display(type=DisplayType.VNC)


def guest(board: str, **tables: Any) -> GuestSpec:
    return GuestSpec(name="web1", machine=Machine(type=board, accel=Accel.TCG), **tables)


def full(card: VideoType, end: str) -> Video:
    """The card with all that it can have: the least memory or the most."""
    memory = Size.parse(getattr(MEMORY[card], end)) if card in MEMORY else None
    heads = 4 if card in SEVERAL_HEADS else None
    return Video(
        type=card, memory=memory, heads=heads, resolution="800x600" if card in WITH_RESOLUTION else None
    )


def cases() -> Iterator[Any]:
    """Every choice of every table on every board, but for what qsup itself refuses and what needs a GPU."""
    for board in BOARDS:
        cards = [card for card in VideoType if card is not VideoType.VIRTIO_GL]
        made = [
            guest(board, display=VNC, video=full(card, end)) for card in cards for end in ("least", "most")
        ]
        made += [guest(board, input=Input(keyboard=keyboard)) for keyboard in Keyboard]
        made += [guest(board, input=Input(pointer=pointer)) for pointer in Pointer]
        made += [guest(board, display=VNC, sound=Sound(model=model)) for model in SoundModel]
        for spec in made:
            if not any(screen(spec)):
                yield pytest.param(spec, id=f"{board}-{_chosen(spec)}")


def _chosen(spec: GuestSpec) -> str:
    words = (spec.video.type, spec.video.memory, spec.input.keyboard, spec.input.pointer, spec.sound.model)
    return "-".join(str(word) for word in words if word not in (None, SoundModel.NONE)) or "none"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    (directory / MADE).mkdir(parents=True)
    return directory


def lacking(spec: GuestSpec, facts: HostFacts) -> list[str]:
    """What a start would tell that this QEMU lacks."""
    return [str(one) for one in command.obstacles(Plan(spec, facts, build(spec, facts, CONTEXT)))]


@pytest.mark.parametrize("spec", [*cases()])
def test_qemu_takes_it_or_is_known_not_to_have_it(spec: GuestSpec, each_qemu: str, run_dir: Path) -> None:
    if lacks := lacking(spec, PROBER.facts(each_qemu)):
        with pytest.raises(AssertionError, match="not a valid device model name"):
            launch(spec, each_qemu, run_dir)
        pytest.skip(lacks[0])
    with launch(spec, each_qemu, run_dir) as qemu:
        for device in ("video", "pointer", "keyboard", "sound"):
            there = device in {one["name"] for one in qemu.execute("qom-list", path="/machine/peripheral")}
            assert there == any(f'"id":"{device}"' in one for one in _devices(spec, each_qemu))
        qemu.quit()


def _devices(spec: GuestSpec, binary: str) -> list[str]:
    made = build(spec, HostFacts(binary, kvm=False), CONTEXT)
    return [str(option.value) for option in made.options if option.flag == "-device"]


@pytest.mark.parametrize("backend", [SoundBackend.NONE, SoundBackend.WAV, SoundBackend.ALSA])
def test_qemu_takes_every_backend_that_it_has(
    backend: SoundBackend, each_qemu: str, run_dir: Path, tmp_path: Path
) -> None:
    if backend is SoundBackend.ALSA and not os.path.exists("/dev/snd"):
        pytest.skip("this host has no sound card")
    file = HostPath(tmp_path / "a,b.wav") if backend is SoundBackend.WAV else None
    spec = guest("q35", sound=Sound(model=SoundModel.HDA, backend=backend, file=file))
    if lacks := lacking(spec, PROBER.facts(each_qemu)):
        pytest.skip(lacks[0])
    with launch(spec, each_qemu, run_dir) as qemu:
        qemu.quit()


def test_a_backend_that_is_not_installed_is_known_not_to_be_there(each_qemu: str, run_dir: Path) -> None:
    facts = PROBER.facts(each_qemu)
    if facts.has_member("audio-backends", "pa"):
        pytest.skip("this QEMU has the module for PulseAudio")
    sound = Sound(model=SoundModel.HDA, backend=SoundBackend.PA, server=HostPath("/run/pulse"))
    spec = guest("q35", sound=sound)
    (told,) = lacking(spec, facts)
    assert told.startswith(f'sound: {each_qemu} has no kind of audio backend "pa"; it may come with')
    with pytest.raises(AssertionError, match="Unknown audio driver `pa'"):
        launch(spec, each_qemu, run_dir)


def test_a_qemu_without_spice_and_gpu_modules_is_known_not_to_have_them(each_qemu: str) -> None:
    facts = PROBER.facts(each_qemu)
    poorer = msgspec.structs.replace(
        facts,
        options={name: known for name, known in facts.options.items() if name != "spice"},
        members={**facts.members, "displays": frozenset({"none"})},
    )
    spice = guest("q35", display=Display(type=DisplayType.SPICE))
    assert any(
        "display: " in one and "has no SPICE; it may come with" in one for one in lacking(spice, poorer)
    )
    gpu = guest("q35", display=Display(type=DisplayType.EGL_HEADLESS))
    assert any(
        'has no kind of display "egl-headless"; it may come with' in one for one in lacking(gpu, poorer)
    )

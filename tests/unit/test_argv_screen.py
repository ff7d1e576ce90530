"""Displays, video cards, keyboards, pointers and sound on the command line: what is more than a key's own word."""

from __future__ import annotations

from typing import Any

import pytest

from qsup.argv.files import CopySecret
from qsup.argv.invocation import LaunchContext
from qsup.argv.render import render
from qsup.errors import SpecError
from qsup.spec.base import HostPath
from qsup.spec.tables.agent import Agent
from qsup.spec.tables.display import Display, DisplayType
from qsup.spec.tables.input import Input, Keyboard, Pointer
from qsup.spec.tables.machine import Machine, UsbController
from qsup.spec.tables.passthrough import UsbDevice
from qsup.spec.tables.serial import Serial, SerialType
from qsup.spec.tables.sound import Sound, SoundBackend, SoundModel
from qsup.spec.tables.video import Video, VideoType
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT, KVM, built
from tests.unit.argv_parsing import devices, values

PC, MICROVM = Machine(type="pc"), Machine(type="microvm")
VNC, SPICE = Display(type=DisplayType.VNC), Display(type=DisplayType.SPICE)
NODE = HostPath("/dev/dri/renderD128")


def words(keys: dict[str, Any], flag: str) -> dict[str, str]:
    """The one option of this name."""
    (found,) = values(built(**keys), flag)
    return dict(found)


def test_a_guest_without_a_display_has_nothing_of_the_kind() -> None:
    made = built()
    assert values(made, "-display") == [[("", "none")]]
    assert not {"-vnc", "-spice", "-audiodev"} & {option.flag for option in made.options}
    assert devices(made) == {}


@pytest.mark.parametrize(
    ("display", "flag", "said"),
    [
        (Display(type=DisplayType.VNC, port=5900), "-vnc", {"vnc": "127.0.0.1:0"}),
        (Display(type=DisplayType.VNC, port=65535, address="::"), "-vnc", {"vnc": "[::]:59635"}),
        (
            Display(type=DisplayType.SPICE, port=1, address="::1"),
            "-spice",
            {"port": "1", "addr": "::1", "disable-ticketing": "on"},
        ),
        (
            Display(type=DisplayType.SPICE, port=1, tls=HostPath("/a,b")),
            "-spice",
            {"tls-port": "1", "addr": "127.0.0.1", "x509-dir": "/a,b", "disable-ticketing": "on"},
        ),
    ],
)
def test_a_port_is_told_as_each_protocol_counts_it(display: Display, flag: str, said: dict[str, str]) -> None:
    assert words({"display": display}, flag) == said


@pytest.mark.parametrize(
    ("display", "window", "spice"),
    [
        (
            Display(type=DisplayType.VNC, gl=True, render_node=NODE),
            {"": "egl-headless", "rendernode": NODE},
            None,
        ),
        (Display(type=DisplayType.EGL_HEADLESS), {"": "egl-headless"}, None),
        (
            Display(type=DisplayType.SPICE, gl=True, render_node=NODE),
            {"": "none"},
            {"gl": "on", "rendernode": NODE},
        ),
        (Display(type=DisplayType.SPICE, gl=True, port=5930), {"": "egl-headless"}, {}),
    ],
)
def test_only_spice_on_a_socket_hands_over_what_the_gpu_draws(
    display: Display, window: dict[str, str], spice: dict[str, str] | None
) -> None:
    assert words({"display": display}, "-display") == window
    if spice is not None:
        said = words({"display": display}, "-spice")
        assert {key: said[key] for key in said if key in ("gl", "rendernode")} == spice


@pytest.mark.parametrize(
    ("kind", "flag", "most"), [(DisplayType.VNC, "-vnc", 8), (DisplayType.SPICE, "-spice", 60)]
)
def test_a_password_goes_by_a_copy_for_qemu_alone(kind: DisplayType, flag: str, most: int) -> None:
    made = built(display=Display(type=kind, password_file=HostPath("/etc/secret")))
    copy = f"{CONTEXT.run_dir}/display-password"
    assert made.files == (CopySecret("/etc/secret", copy, most, ("display", "password-file")),)
    secret = {"qom-type": "secret", "id": "display-password", "file": copy}
    assert values(made, "-object") == [secret]
    said = dict(values(made, flag)[0])
    assert said["password-secret"] == "display-password"
    assert "disable-ticketing" not in said
    assert not any("/etc/secret" in word for word in made.argv)


@pytest.mark.parametrize("kind", [DisplayType.VNC, DisplayType.SPICE])
def test_a_socket_may_have_a_path_of_107_bytes_and_no_more(kind: DisplayType) -> None:
    file = {DisplayType.VNC: "q/vnc.sock", DisplayType.SPICE: "q/spice.sock"}[kind]
    longest = "/é".ljust(107 - len(f"/{file}") - 1, "r")
    built(context=LaunchContext(CONTEXT.token, longest, "/s"), display=Display(type=kind))
    too_long = LaunchContext(CONTEXT.token, f"{longest}r", "/s")
    with pytest.raises(SpecError, match=f"of the {kind.upper()} socket has 108 bytes, and 107 are the most"):
        built(context=too_long, display=Display(type=kind))
    built(context=too_long, display=Display(type=kind, port=5900))


def test_the_agents_and_consoles_have_ports_of_their_own() -> None:
    made = devices(
        built(display=SPICE, agent=Agent(enabled=True), serial={"c": Serial(type=SerialType.VIRTIO)})
    )
    assert (made["agent"]["nr"], made["vdagent"]["nr"], made["serial-c"]["nr"]) == (1, 2, 0)
    assert devices(built(display=SPICE, machine=MICROVM))["virtio-serial"]["driver"] == "virtio-serial-device"
    assert "virtio-serial" not in devices(built(display=VNC))


@pytest.mark.parametrize(
    ("keys", "card"),
    [
        ({"display": VNC}, "VGA"),
        ({"display": SPICE, "machine": PC}, "VGA"),
        ({"display": VNC, "machine": MICROVM}, "virtio-gpu-device"),
        ({"display": Display(type=DisplayType.VNC, gl=True)}, "virtio-vga-gl"),
        ({"display": Display(type=DisplayType.VNC, gl=True), "machine": MICROVM}, "virtio-gpu-gl-device"),
        ({"video": Video(type=VideoType.RAMFB), "machine": MICROVM}, "ramfb"),
        ({"video": Video(type=VideoType.CIRRUS)}, "cirrus-vga"),
    ],
)
def test_the_card_is_the_one_that_is_named_or_goes_with_the_display(keys: dict[str, Any], card: str) -> None:
    assert devices(built(**keys))["video"]["driver"] == card


def test_a_display_may_have_no_card() -> None:
    assert "video" not in devices(built(display=VNC, video=Video(type=VideoType.NONE)))


def test_memory_is_told_in_the_unit_of_the_card() -> None:
    size = Size.parse("32 MiB")
    assert devices(built(video=Video(type=VideoType.QXL, memory=size)))["video"]["vgamem_mb"] == 32
    assert devices(built(video=Video(type=VideoType.BOCHS, memory=size)))["video"]["vgamem"] == 32 << 20


def test_pointers_keep_the_first_port_and_what_is_newer_comes_last() -> None:
    made = devices(
        built(
            display=VNC,
            input=Input(keyboard=Keyboard.USB),
            sound=Sound(model=SoundModel.USB),
            usb={"stick": UsbDevice(bus=1, port="1")},
        )
    )
    ports = {name: made[name]["port"] for name in ("pointer", "usb-stick", "keyboard", "sound")}
    assert ports == {"pointer": "1", "usb-stick": "2", "keyboard": "3", "sound": "4"}


def test_a_guest_without_usb_has_a_mouse() -> None:
    made = devices(built(machine=Machine(usb=UsbController.NONE), display=VNC))
    assert made.keys() == {"video"}


def test_a_second_device_stands_behind_the_hub_of_a_uhci_and_stays_there() -> None:
    uhci, stick = Machine(usb=UsbController.UHCI), {"stick": UsbDevice(bus=1, port="1")}
    one = devices(built(machine=uhci, display=VNC))
    two = devices(built(machine=uhci, display=VNC, usb=stick))
    three = devices(built(machine=uhci, display=VNC, usb=stick, input=Input(keyboard=Keyboard.USB)))
    assert "hub" not in one
    assert (one["pointer"]["port"], two["pointer"]["port"], three["pointer"]["port"]) == ("1", "1", "1")
    assert (two["usb-stick"]["port"], three["usb-stick"]["port"], three["keyboard"]["port"]) == (
        "2.1",
        "2.1",
        "2.2",
    )
    assert two["hub"]["port"] == "2"


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_virtio_keyboards_and_pointers_stand_behind_the_bridge(machine: str) -> None:
    chosen = Input(keyboard=Keyboard.VIRTIO, pointer=Pointer.VIRTIO_MOUSE)
    made = devices(built(machine=Machine(type=machine), input=chosen))
    assert [made[name]["driver"] for name in ("keyboard", "pointer")] == [
        "virtio-keyboard-pci",
        "virtio-mouse-pci",
    ]
    assert [made[name]["bus"] for name in ("keyboard", "pointer")] == ["bridge", "bridge"]
    assert made["keyboard"]["addr"] != made["pointer"]["addr"]
    assert "bridge" in made
    assert "usb" not in made


@pytest.mark.parametrize(
    ("machine", "model", "drivers"),
    [
        ("q35", SoundModel.HDA, {"sound": "ich9-intel-hda", "sound-codec": "hda-duplex"}),
        ("pc", SoundModel.HDA, {"sound": "intel-hda", "sound-codec": "hda-duplex"}),
        ("q35", SoundModel.ES1370, {"sound": "ES1370"}),
        ("q35", SoundModel.VIRTIO, {"sound": "virtio-sound-pci"}),
        ("microvm", SoundModel.VIRTIO, {"sound": "virtio-sound-device"}),
    ],
)
def test_each_sound_card_has_its_drivers(machine: str, model: SoundModel, drivers: dict[str, str]) -> None:
    made = built(machine=Machine(type=machine), sound=Sound(model=model))
    assert {name: device["driver"] for name, device in devices(made).items()} == drivers
    assert values(made, "-audiodev") == [{"driver": "none", "id": "sound"}]


def test_sound_goes_to_the_viewer() -> None:
    hda = Sound(model=SoundModel.HDA)
    assert values(built(display=SPICE, sound=hda), "-audiodev") == [{"driver": "spice", "id": "sound"}]
    assert words({"display": VNC, "sound": hda}, "-vnc")["audiodev"] == "sound"
    assert "audiodev" not in words({"display": VNC}, "-vnc")


def test_a_file_has_nothing_to_be_recorded() -> None:
    sound = Sound(model=SoundModel.HDA, backend=SoundBackend.WAV, file=HostPath("/s.wav"))
    assert devices(built(sound=sound))["sound-codec"]["driver"] == "hda-output"


def test_each_server_is_told_in_its_own_way() -> None:
    pulse = built(sound=Sound(model=SoundModel.HDA, backend=SoundBackend.PA, server=HostPath("/run/p")))
    assert values(pulse, "-audiodev") == [{"driver": "pa", "id": "sound", "server": "unix:/run/p"}]
    assert pulse.environment == {}
    pipewire = built(
        sound=Sound(model=SoundModel.HDA, backend=SoundBackend.PIPEWIRE, server=HostPath("/run/p w"))
    )
    assert values(pipewire, "-audiodev") == [{"driver": "pipewire", "id": "sound"}]
    assert pipewire.environment == {"PIPEWIRE_REMOTE": "/run/p w"}
    assert render(pipewire).startswith(f"PIPEWIRE_REMOTE='/run/p w' {KVM.binary} \\\n")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"display": VNC, "video": Video(type=VideoType.STD), "machine": MICROVM}, "no PCI bus for VGA"),
        ({"input": Input(keyboard=Keyboard.USB), "machine": MICROVM}, "no PCI bus for qemu-xhci"),
        ({"sound": Sound(model=SoundModel.SB16), "machine": MICROVM}, "has no DMA, which sb16 needs"),
        ({"sound": Sound(model=SoundModel.HDA), "machine": MICROVM}, "no PCI bus for intel-hda"),
        ({"sound": Sound(model=SoundModel.HDA, backend=SoundBackend.WAV)}, 'backend = "wav" needs `file`'),
        ({"sound": Sound(model=SoundModel.HDA, backend=SoundBackend.PA)}, 'backend = "pa" needs `server`'),
        ({"video": Video(type=VideoType.STD, memory=Size(1))}, "video.memory must be whole MiB"),
        ({"display": Display(type=DisplayType.VNC, port=80)}, "display.port: 80 is below 5900"),
        (
            {"display": Display(password_file=HostPath("/p"))},
            'display.password-file: belongs to type = "vnc"',
        ),
    ],
)
def test_what_no_qemu_could_take_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        built(**keys)

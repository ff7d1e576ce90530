"""What becomes of a command line of QEMU: every option of it ends up in the guest file or in a note."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import SpecError
from qsup.importer.draft import Severity
from qsup.importer.qemu.line import draft_of
from qsup.importer.qemu.words import Keys, Option, split
from qsup.importer.settle import Imported, settle
from qsup.spec.specifiers import resolve

BARE = "-nodefaults -display none "


def imported(line: str, name: str = "web1") -> Imported:
    return settle(draft_of(shlex.split(line), name))


def told(guest: Imported, severity: Severity) -> list[str]:
    return [note.what for note in guest.notes if note.severity is severity]


def test_a_usual_script_comes_over() -> None:
    guest = imported(
        "qemu-system-x86_64 -name web2 -enable-kvm -machine q35 -cpu host,-vmx,+aes -smp 4,sockets=1,cores=4 -m 2G"
        " -drive file=/srv/a.qcow2,if=virtio,format=qcow2,cache=none,aio=native -cdrom /srv/x.iso"
        " -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:2222-:22 -nographic -boot order=d",
        "",
    )
    assert resolve(tomli.loads(guest.toml), guest.name) == (guest.table, [])
    assert guest.name == "web2"
    assert guest.table["machine"] == {"type": "q35", "accel": "kvm"}
    assert guest.table["cpu"]["features"] == {"vmx": False, "aes": True}
    assert guest.spec.cpu.count == 4
    assert str(guest.spec.memory.size) == "2 GiB"
    disk = guest.table["disk"]["virtio"]
    assert (disk["bus"], disk["cache"], disk["aio"]) == ("virtio-blk", "none", "native")
    assert guest.table["nic"]["net0"] == {"type": "user", "forward": ["tcp:127.0.0.1:2222:22"]}
    assert guest.table["boot"]["order"] == ["cdrom"]
    assert list(guest.spec.serial) == ["console"]


def test_the_forms_of_an_option_mean_the_same() -> None:
    devices = [
        '-device {"driver":"virtio-net-pci","netdev":"n0","mac":"52:54:00:00:00:01"}',
        "-device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01",
        "-device driver=virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01",
    ]
    tables = [imported(f"{BARE} -netdev user,id=n0 {shlex.join(one.split(' ', 1))}").table for one in devices]
    assert tables[0] == tables[1] == tables[2]
    assert tables[0]["nic"]["net0"]["mac"] == "52:54:00:00:00:01"


def test_a_chain_of_block_nodes_is_one_disk() -> None:
    storage = {"driver": "file", "filename": "/srv/a,b.qcow2", "node-name": "s0", "cache": {"direct": True}}
    image = {"driver": "qcow2", "file": "s0", "node-name": "f0", "discard": "unmap", "read-only": True}
    line = [*BARE.split(), "-blockdev", json.dumps(storage), "-blockdev", json.dumps(image)]
    guest = settle(
        draft_of([*line, "-device", "virtio-blk-pci,drive=f0,id=root,serial=X,bootindex=1"], "web1")
    )
    disk = guest.table["disk"]["root"]
    assert disk["file"] == "/srv/a,b.qcow2"
    assert (disk["cache"], disk["discard"], disk["read-only"]) == ("none", "unmap", True)
    assert guest.table["boot"]["order"] == ["root"]


def test_what_qsup_does_by_itself_is_nothing_to_tell() -> None:
    guest = imported(
        f"{BARE} -S -no-user-config -daemonize -pidfile /run/x -qmp unix:/run/q,server -sandbox on -msg timestamp=on"
    )
    assert guest.notes == ()


@pytest.mark.parametrize(
    ("words", "severity", "what"),
    [
        ("-device virtio-blk-pci,drive=gone", Severity.LOST, "-device virtio-blk-pci,drive=gone"),
        ("-m 1G,novelty=7", Severity.LOST, "novelty=7 of -m"),
        (
            "-chardev socket,id=c0,fd=7 -device isa-debugcon,chardev=c0",
            Severity.LOST,
            "-device isa-debugcon,chardev=c0",
        ),
        (
            "-object secret,id=s0,data=hunter2 -device novelty,secret=s0",
            Severity.LOST,
            "-device novelty,secret=s0",
        ),
        ("-device edu", Severity.PASSED, "-device edu"),
        ("-novelty x", Severity.PASSED, "-novelty x"),
        ("-machine vmport=off", Severity.PASSED, "-machine vmport=off"),
        ("-snapshot", Severity.LOST, "-snapshot"),
        ("-nic user,model=novelty", Severity.LOST, "the card novelty"),
        ("-writeconfig x", Severity.LOST, "-writeconfig x"),
        ("-netdev user,id=n0", Severity.DIFFERS, "-netdev user,id=n0"),
    ],
)
def test_nothing_is_lost_silently(words: str, severity: Severity, what: str) -> None:
    assert what in told(imported(f"{BARE} {words}"), severity)


def test_a_device_that_is_kept_takes_along_what_it_refers_to() -> None:
    guest = imported(
        f"{BARE} -object memory-backend-ram,id=m0,size=1M -device ivshmem-plain,memdev=m0,addr=0x7"
    )
    assert guest.table["qemu"]["args"] == [
        "-object",
        "memory-backend-ram,id=m0,size=1M",
        "-device",
        '{"driver":"ivshmem-plain","memdev":"m0"}',
    ]


def test_a_kept_device_has_the_types_of_its_properties() -> None:
    guest = imported(f"{BARE} -device novelty,a=on,b=0x10,c=2M,serial=007,d=x,,y,addr=4")
    assert json.loads(guest.table["qemu"]["args"][1]) == {
        "driver": "novelty",
        "a": True,
        "b": 16,
        "c": 2 << 20,
        "serial": "007",
        "d": "x,y",
    }


def test_words_that_no_guest_file_can_hold_are_lost() -> None:
    guest = imported(f"{BARE} -novelty {'x' * 5000}")
    assert "qemu" not in guest.table
    assert any("longer" in note.why for note in guest.notes)


def test_what_qemu_adds_by_itself_is_there() -> None:
    guest = imported("-accel tcg -m 64")
    assert guest.table["nic"]["net0"] == {"type": "user", "model": "e1000"}
    assert "console" in guest.table["serial"]
    assert guest.table["display"]["type"] == "vnc"


def test_passwords_are_not_repeated() -> None:
    guest = imported("-nodefaults -spice port=5900,password=hunter2,novelty=1")
    assert "hunter2" not in guest.toml
    assert all("hunter2" not in str(note) for note in guest.notes)


def test_a_screen_and_what_belongs_to_it_come_over_whole() -> None:
    guest = imported(
        "-nodefaults -spice port=0,tls-port=5931,addr=127.0.0.1,x509-dir=/etc/pki/qemu,disable-ticketing=on,"
        "tls-channel=main,seamless-migration=on -device qxl-vga,id=v,ram_size=67108864,vgamem_mb=32,max_outputs=2"
        " -device usb-tablet -device virtio-keyboard-pci -device virtio-serial-pci"
        " -chardev spicevmc,id=c0,name=vdagent -device virtserialport,chardev=c0,name=com.redhat.spice.0"
        " -audiodev spice,id=a0 -device ich9-intel-hda,id=s0 -device hda-duplex,bus=s0.0,audiodev=a0"
    )
    assert guest.is_whole, guest.notes
    assert {table: guest.table[table] for table in ("display", "video", "input", "sound")} == {
        "display": {"type": "spice", "address": "127.0.0.1", "port": 5931, "tls": "/etc/pki/qemu"},
        "video": {"type": "qxl", "memory": "32 MiB", "heads": 2},
        "input": {"pointer": "usb-tablet", "keyboard": "virtio"},
        "sound": {"model": "hda", "backend": "spice"},
    }


@pytest.mark.parametrize(
    ("words", "table", "keys"),
    [
        (
            "-device bochs-display,vgamem=16384k,xres=800,yres=600",
            "video",
            {"type": "bochs", "memory": "16 MiB", "resolution": "800x600"},
        ),
        ("-device cirrus-vga,vgamem_mb=8", "video", {"type": "cirrus", "memory": "8 MiB"}),
        (
            "-audiodev pa,id=a,server=unix:/run/p -device AC97,audiodev=a",
            "sound",
            {"model": "ac97", "backend": "pa", "server": "/run/p"},
        ),
        (
            "-audiodev wav,id=a,path=/a.wav -device sb16,audiodev=a",
            "sound",
            {"model": "sb16", "backend": "wav", "file": "/a.wav"},
        ),
        ("-vnc [::1]:1", "display", {"type": "vnc", "address": "::1", "port": 5901}),
        ("-vnc [::1]:1", "video", {"type": "none"}),
        ("-usb -usbdevice tablet", "machine", {"type": "pc", "accel": "tcg", "usb": "uhci"}),
    ],
)
def test_each_part_of_a_screen_has_its_keys(words: str, table: str, keys: dict[str, str]) -> None:
    guest = imported(f"{BARE} {words}")
    assert guest.is_whole, guest.notes
    assert guest.table[table] == keys


@pytest.mark.parametrize(
    ("words", "severity", "what"),
    [
        ("-audiodev pa,id=a -device AC97,audiodev=a", Severity.LOST, "-audiodev pa,id=a"),
        ("-audiodev jack,id=a -device AC97,audiodev=a", Severity.LOST, "-audiodev jack,id=a"),
        (
            "-audiodev alsa,id=a,out.frequency=48000 -device AC97,audiodev=a",
            Severity.DIFFERS,
            "-audiodev alsa,id=a,out.frequency=48000",
        ),
        ("-spice port=5900", Severity.LOST, "the display's password"),
        ("-spice port=5900,tls-channel=main,disable-ticketing", Severity.LOST, "tls-channel=main"),
    ],
)
def test_what_a_screen_cannot_have_is_told(words: str, severity: Severity, what: str) -> None:
    assert what in told(imported(f"{BARE} {words}"), severity)


def test_spice_that_lets_nobody_in_is_not_opened() -> None:
    guest = imported(f"{BARE} -spice port=5900")
    assert guest.spec.display.password_file == "/etc/qsup/secrets/web1-spice"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "no options"),
        (["qemu-system-s390x", "-m", "1G"], "other machines"),
        (["-x"] * 10_001, "more than"),
    ],
)
def test_what_is_no_command_line_of_a_pc_is_refused(argv: list[str], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        draft_of(argv)


def test_doubled_commas_belong_to_the_value() -> None:
    keys = Keys.of(Option("drive", "file=/a,,b,,,readonly,noshare", 1))
    assert keys.take("file") == "/a,b,"
    assert keys.switch("readonly") is True
    assert keys.switch("share") is False


def test_environment_and_binary_stand_in_front() -> None:
    line = split(["LC_ALL=C", "/usr/bin/qemu-kvm", "-S", "-m", "1G", "disk.img"])
    assert (line.environment, line.binary) == (("LC_ALL=C",), "/usr/bin/qemu-kvm")
    assert [(option.name, option.value, option.number) for option in line.options] == [
        ("S", None, 3),
        ("m", "1G", 4),
        ("hda", "disk.img", 6),
    ]


FLAGS = [
    "-m",
    "-drive",
    "-device",
    "-netdev",
    "-nic",
    "-cpu",
    "-smp",
    "-machine",
    "-object",
    "-blockdev",
    "-spice",
]


@given(st.lists(st.tuples(st.sampled_from(FLAGS), st.text(max_size=30)), max_size=5))
def test_no_words_break_the_import(options: list[tuple[str, str]]) -> None:
    """Whatever stands in a command line: a file that reads back as what was checked, or a refusal."""
    with suppress(SpecError):
        guest = settle(draft_of([word for option in options for word in option] or ["-S"], "web1"))
        assert resolve(tomli.loads(guest.toml), guest.name) == (guest.table, [])

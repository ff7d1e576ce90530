from __future__ import annotations

import shlex
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import QMP_FD
from qsup.argv.nic import derived_mac
from qsup.argv.render import render
from qsup.errors import SpecError
from qsup.spec.base import HostPath
from qsup.spec.model import GuestSpec
from qsup.spec.policy import Reaction, RestartOn, RestartPolicy
from qsup.spec.tables.agent import Agent
from qsup.spec.tables.boot import Boot
from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.disk import Cache, Cdrom, CdromBus, DiskBus
from qsup.spec.tables.display import Display, DisplayType
from qsup.spec.tables.input import Input, Keyboard, Pointer
from qsup.spec.tables.machine import Accel, Machine
from qsup.spec.tables.memory import Memory, MemoryBackend
from qsup.spec.tables.nic import Nic, NicType
from qsup.spec.tables.numa import Numa
from qsup.spec.tables.qemu import Qemu
from qsup.spec.tables.ready import Ready, ReadyCheck
from qsup.spec.tables.rng import Rng
from qsup.spec.tables.serial import Serial
from qsup.spec.tables.sound import Sound, SoundBackend, SoundModel
from qsup.spec.tables.tpm import Tpm
from qsup.spec.tables.vsock import Vsock
from qsup.units import Size
from tests.unit.argv_guests import CONTEXT, KVM, TCG, built, disk, guest
from tests.unit.argv_parsing import devices, shape_of, values

GIB = Size.parse("1 GiB")
NO_MARKS = str.maketrans("", "", ",=")
"""Features of a CPU are refused with a comma or an equals sign in their names: nothing quotes them there."""


def _screen(path: HostPath, *, spice: bool) -> Display:
    kind = DisplayType.SPICE if spice else DisplayType.VNC
    return Display(type=kind, port=5900, password_file=path, tls=path, gl=True, render_node=path)


def spelled(text: str, tap: bool) -> GuestSpec:
    """A guest with ``text`` in every place that holds text, as if no check had come before."""
    path = HostPath(f"/x{text}")
    nic = Nic(type=NicType.TAP, interface=text) if tap else Nic(type=NicType.BRIDGE, bridge=text, helper=path)
    return GuestSpec(
        name=f"g{text}",
        description=text,
        machine=Machine(type=f"q35{text}", accel=Accel.AUTO),
        cpu=Cpu(model=f"c{text.replace(',', '')}", features={f"f{text.translate(NO_MARKS)}": True}),
        numa={f"a{text}": Numa(cpus="0", memory=GIB, distance={f"a{text}": 10})},
        memory=Memory(size=GIB, backend=MemoryBackend.FILE, path=path),
        uuid=f"1{text}",
        boot=Boot(kernel=path, initrd=path, cmdline=f"c{text}"),
        disk={f"d{text}": disk(path)},
        cdrom={f"r{text}": Cdrom(file=path)},
        nic={f"n{text}": nic, "user": Nic(forward=(f"tcp:{text}",), mac=f"5{text}")},
        serial={f"s{text}": Serial()},
        display=_screen(path, spice=tap),
        sound=Sound(model=SoundModel.HDA, backend=SoundBackend.WAV, file=path),
        rng=Rng(enabled=True, source=path),
        agent=Agent(enabled=True),
    )


HOSTILE = st.text(st.sampled_from(",=\"'\\{}[]:-%/ ab\u2028") | st.characters(), max_size=8)


@settings(max_examples=300, deadline=None)
@given(text=HOSTILE, tap=st.booleans(), kvm=st.booleans())
def test_no_text_of_a_guest_file_adds_removes_or_changes_another_option(
    text: str, tap: bool, kvm: bool
) -> None:
    facts = KVM if kvm else TCG
    try:
        invocation = build(spelled(text, tap), facts, CONTEXT)
    except SpecError:
        return
    assert shape_of(invocation) == shape_of(build(spelled("", tap), facts, CONTEXT))
    assert not any(character < " " for word in invocation.argv for character in word)


@pytest.mark.parametrize("text", ["\0", "\n", "\x1b[2J"], ids=repr)
def test_control_characters_are_refused_wherever_they_stand(text: str) -> None:
    for broken in (
        guest(boot=Boot(kernel=HostPath("/k"), cmdline=text)),
        guest(disk={"root": disk(f"/d{text}")}),
        guest(nic={"lan": Nic(type=NicType.TAP, interface=f"tap{text}")}),
        guest(qemu=Qemu(args=("-device", text))),
    ):
        with pytest.raises(SpecError, match=r"^web1: .*cannot carry"):
            build(broken, KVM, CONTEXT)


@pytest.mark.parametrize(
    ("accel", "facts", "accelerator", "cpu"),
    [
        (Accel.KVM, KVM, "kvm", "host"),
        (Accel.KVM, TCG, "kvm", "host"),
        (Accel.TCG, KVM, "tcg", "max"),
        (Accel.AUTO, KVM, "kvm", "host"),
        (Accel.AUTO, TCG, "tcg", "max"),
    ],
)
def test_auto_takes_kvm_where_it_works_and_tcg_has_no_host_model(
    accel: Accel, facts: HostFacts, accelerator: str, cpu: str
) -> None:
    invocation = built(facts, machine=Machine(accel=accel))
    assert invocation.accel == accelerator
    assert values(invocation, "-accel") == [accelerator]
    assert values(invocation, "-cpu") == [cpu]


def test_a_model_that_was_named_is_kept_under_tcg() -> None:
    assert values(built(machine=Machine(accel=Accel.TCG), cpu=Cpu(model="qemu64")), "-cpu") == ["qemu64"]


def test_kvm_comes_by_an_fd_after_all_others_where_qemu_takes_it() -> None:
    takes = msgspec.structs.replace(KVM, takes_kvm=True)
    kvm = guest(
        machine=Machine(accel=Accel.KVM),
        tpm=Tpm(enabled=True),
        nic={"lan": Nic(type=NicType.TAP, interface="tap0", queues=2)},
    )
    made = build(kvm, takes, CONTEXT)
    assert list(map(str, made.inherited)) == ["fd 4: qmp.sock", "fd 6, fd 7: tap tap0", "fd 8: /dev/kvm"]
    assert values(made, "-add-fd") == [[("fd", "8"), ("set", "8")]]
    assert values(made, "-accel") == ["kvm,device=/dev/fdset/8"]
    for facts, accel in ((KVM, Accel.KVM), (takes, Accel.TCG)):
        plain = build(guest(machine=Machine(accel=accel)), facts, CONTEXT)
        assert (plain.devices, values(plain, "-accel")) == ((), [accel.value])


def test_each_socket_has_its_fd_and_each_fd_its_chardev() -> None:
    invocation = built(serial={"console": Serial(), "debug": Serial()}, agent=Agent(enabled=True))
    assert [listener.file for listener in invocation.listeners] == [
        "qmp.sock",
        "serial-console.sock",
        "serial-debug.sock",
        "agent.sock",
    ]
    assert [listener.fd for listener in invocation.listeners] == [QMP_FD, QMP_FD + 1, QMP_FD + 2, QMP_FD + 3]
    chardevs = {pairs["id"]: pairs["fd"] for pairs in map(dict, values(invocation, "-chardev"))}
    assert chardevs == {
        "qsup-0123456789abcdef": "4",
        "serial-console": "5",
        "serial-debug": "6",
        "agent": "7",
    }


@pytest.mark.parametrize("rule", [None, *Reaction])
@pytest.mark.parametrize("cause", ["guest_reset", "triple_fault"])
def test_qemu_stands_still_at_a_reset_if_a_rule_is_to_decide(cause: str, rule: Reaction | None) -> None:
    invocation = built(restart=RestartPolicy(on=RestartOn(**{cause: rule})))
    decided = rule in {Reaction.RESTART, Reaction.STOP, Reaction.PAUSE}
    assert dict(values(invocation, "-action")[0])["reboot"] == ("shutdown" if decided else "reset")


@pytest.mark.parametrize("rule", [None, *Reaction])
def test_qemu_stands_still_at_a_panic_unless_it_is_to_be_ignored(rule: Reaction | None) -> None:
    invocation = built(restart=RestartPolicy(on=RestartOn(guest_panic=rule)))
    assert dict(values(invocation, "-action")[0])["panic"] == ("none" if rule is Reaction.IGNORE else "pause")


@pytest.mark.parametrize(
    ("cache", "direct", "no_flush", "write_cache"),
    [
        (Cache.WRITEBACK, False, False, "on"),
        (Cache.NONE, True, False, "on"),
        (Cache.WRITETHROUGH, False, False, "off"),
        (Cache.DIRECTSYNC, True, False, "off"),
        (Cache.UNSAFE, False, True, "on"),
    ],
)
def test_cache_modes_mean_what_the_table_in_qemus_manual_says(
    cache: Cache, direct: bool, no_flush: bool, write_cache: str
) -> None:
    invocation = built(disk={"root": disk(cache=cache)})
    nodes = values(invocation, "-blockdev")
    assert [node["cache"] for node in nodes] == [{"direct": direct, "no-flush": no_flush}] * 2
    assert devices(invocation)["disk-root"]["write-cache"] == write_cache


@pytest.mark.parametrize(
    ("file", "driver"),
    [
        ("/dev/vg0/web1", "host_device"),
        ("/dev/shm/web1", "file"),
        ("/srv/dev/web1", "file"),
        ("/devices/x", "file"),
    ],
)
def test_what_lies_in_dev_is_a_device(file: str, driver: str) -> None:
    assert values(built(disk={"root": disk(file)}), "-blockdev")[0]["driver"] == driver


def test_another_disk_moves_no_other_device() -> None:
    before = devices(built(disk={"root": disk()}, nic={"lan": Nic()}, rng=Rng(enabled=True)))
    more = {"root": disk(), "data": disk(), "scsi": disk(bus=DiskBus.VIRTIO_SCSI)}
    after = devices(
        built(disk=more, nic={"lan": Nic()}, rng=Rng(enabled=True), display=Display(type=DisplayType.VNC))
    )
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_no_two_devices_share_a_place(machine: str) -> None:
    disks = {
        f"{bus.name}{index}": disk(bus=bus) for bus in DiskBus if bus is not DiskBus.IDE for index in range(4)
    }
    ide = {"ide1": disk(bus=DiskBus.IDE), "ide2": disk(bus=DiskBus.IDE)} if machine == "pc" else {}
    invocation = built(
        machine=Machine(type=machine),
        disk=disks | ide,
        cdrom={"one": Cdrom(), "two": Cdrom(), "usb": Cdrom(bus=CdromBus.USB), "x": Cdrom(bus=CdromBus.USB)},
        nic={f"n{index}": Nic() for index in range(8)},
        serial={"console": Serial()},
        display=Display(type=DisplayType.SPICE),
        input=Input(keyboard=Keyboard.VIRTIO, pointer=Pointer.VIRTIO_TABLET),
        sound=Sound(model=SoundModel.HDA),
        rng=Rng(enabled=True),
        agent=Agent(enabled=True),
    )
    keys = ("bus", "addr", "port", "unit", "scsi-id", "nr")
    places = Counter(
        tuple(device.get(key) for key in keys) for device in devices(invocation).values() if "bus" in device
    )
    assert max(places.values()) == 1


def test_no_two_tables_share_an_id_of_qemu_even_with_ids_made_for_it() -> None:
    tricky = {"root": disk(), "file-root": disk(), "disk-root": disk()}
    nodes = [
        node["node-name"]
        for node in values(built(disk=tricky, cdrom={"root": Cdrom(file=HostPath("/c"))}), "-blockdev")
    ]
    assert len(set(nodes)) == len(nodes)


def test_the_longest_id_fits_into_qemus_node_names() -> None:
    nodes = values(built(disk={"d" * 20: disk()}, cdrom={"c" * 20: Cdrom(file=HostPath("/c"))}), "-blockdev")
    assert max(len(node["node-name"]) for node in nodes) == 31


def test_only_a_card_that_is_booted_from_has_its_rom() -> None:
    cards = devices(built(nic={"lan": Nic(), "dmz": Nic()}, boot=Boot(order=("dmz",))))
    assert cards["nic-lan"]["romfile"] == ""
    assert "romfile" not in cards["nic-dmz"]
    assert cards["nic-dmz"]["bootindex"] == 1


def test_a_derived_mac_is_stable_unicast_and_differs_by_guest_and_nic() -> None:
    assert derived_mac("web1", "lan") == "52:54:00:f6:49:df"
    assert len({derived_mac(guest, nic) for guest in ("a", "b") for nic in ("x", "y")}) == 4


def test_the_uuid_depends_on_the_name_alone() -> None:
    small, large = built(), built(memory=Memory(size=Size.parse("8 GiB")))
    other = build(GuestSpec(name="web2"), KVM, CONTEXT)
    assert values(small, "-uuid") == values(large, "-uuid") != values(other, "-uuid")


def test_a_shell_reads_the_rendered_text_as_the_same_words() -> None:
    invocation = build(spelled(" 'a' \"b\" $c `d` \\ ,é", tap=True), TCG, CONTEXT)
    text = render(invocation)
    assert shlex.split(text.replace("\\\n", "")) == invocation.argv
    assert text.count("\n") == len(invocation.options) + 1


def test_only_a_guest_that_is_to_report_its_readiness_is_told_where() -> None:
    context = msgspec.structs.replace(CONTEXT, notify_port=70000)
    vsock = Vsock(enabled=True)
    told = built(context=context, vsock=vsock, ready=Ready(check=ReadyCheck.NOTIFY))
    name = "opt/io.systemd.credentials/vmm.notify_socket"
    assert values(told, "-fw_cfg") == [[("name", name), ("string", "vsock-stream:2:70000")]]
    assert values(built(context=context, vsock=vsock), "-fw_cfg") == []

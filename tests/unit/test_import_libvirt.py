"""What becomes of a libvirt domain: every part of it ends up in the guest file or in a note."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from qsup.errors import SpecError
from qsup.importer.draft import Severity
from qsup.importer.libvirt.domain import draft_of
from qsup.importer.settle import Imported, settle
from qsup.spec.specifiers import resolve

DESKTOP = """\
<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>desktop</name>
  <uuid>1b826c23-8767-47ad-a6b5-c83a88277f71</uuid>
  <metadata><os id='x'/></metadata>
  <memory unit='MiB'>2048</memory>
  <currentMemory unit='MiB'>2048</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <boot dev='hd'/>
    <boot dev='cdrom'/>
  </os>
  <features><acpi/><apic/><vmport state='off'/></features>
  <cpu mode='host-passthrough' migratable='on'>
    <feature policy='disable' name='vmx'/>
  </cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap'/>
      <source file='/var/lib/images/a,b "c".qcow2'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:9A:E6:C6'/>
      <source network='default'/>
      <model type='virtio'/>
      <bandwidth><inbound average='1000'/></bandwidth>
    </interface>
    <serial type='pty'><target port='0'/></serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-device'/>
    <qemu:arg value='edu'/>
  </qemu:commandline>
</domain>
"""


def domain(inside: str = "", devices: str = "", kind: str = "q35", extra: str = "") -> str:
    features = "" if "<features" in inside else "<features><acpi/></features>"
    return (
        f"<domain type='kvm'{extra}><name>web1</name><memory unit='MiB'>64</memory>"
        f"<os><type arch='x86_64' machine='{kind}'>hvm</type></os>{features}{inside}"
        f"<devices>{devices}</devices></domain>"
    )


def imported(text: str) -> Imported:
    return settle(draft_of(text.encode()))


def told(guest: Imported, severity: Severity) -> list[str]:
    return [note.what for note in guest.notes if note.severity is severity]


def test_a_usual_domain_comes_over() -> None:
    guest = imported(DESKTOP)
    assert resolve(tomli.loads(guest.toml), guest.name) == (guest.table, [])
    assert guest.name == "desktop"
    spec = guest.spec
    assert (spec.machine.type, spec.machine.accel, spec.cpu.model) == ("pc-q35-7.2", "kvm", "host")
    assert guest.table["cpu"]["features"] == {"vmx": False}
    assert (spec.cpu.count, spec.cpu.max) == (2, 4)
    disk = guest.table["disk"]["vda"]
    assert disk["file"] == '/var/lib/images/a,b "c".qcow2'
    assert (disk["cache"], disk["aio"], disk["discard"]) == ("none", "native", "unmap")
    assert guest.table["nic"]["net0"] == {
        "type": "bridge",
        "bridge": "virbr0",
        "mac": "52:54:00:9a:e6:c6",
    }
    assert list(spec.serial) == ["console"]
    assert spec.agent.enabled
    assert spec.rng.enabled
    assert spec.boot.order == ("vda",)
    assert guest.table["qemu"]["args"] == ["-machine", "vmport=off", "-device", '{"driver":"edu"}']


def test_what_is_lost_is_told_with_its_line() -> None:
    guest = imported(DESKTOP)
    lost = [note for note in guest.notes if note.severity is Severity.LOST]
    assert [(note.where, note.what) for note in lost] == [
        ("line 33", "<bandwidth> in domain/devices/interface")
    ]
    assert "<bandwidth>" in DESKTOP.splitlines()[32]
    assert not guest.is_whole
    assert "# Without counterpart:" in guest.toml


@pytest.mark.parametrize(
    ("inside", "devices", "what"),
    [
        ("<launchSecurity type='sev'/>", "", "<launchSecurity type='sev'> in domain"),
        ("<novelty/>", "", "<novelty> in domain"),
        ("", "<novelty name='x'/>", "<novelty name='x'> in domain/devices"),
        ("<features><acpi/><novelty state='on'/></features>", "", "<novelty state='on'>"),
        ("<cpu mode='host-passthrough' novelty='1'/>", "", "<cpu novelty='1'> in domain"),
        ("<iothreads>1</iothreads><memtune><hard_limit>9</hard_limit></memtune>", "", "<memtune> in domain"),
        ("", "<graphics type='sdl'/>", "<graphics type='sdl'>"),
        ("", "<rng model='virtio'><backend model='egd' type='udp'/></rng>", "<rng model='virtio'>"),
        ("<clock offset='absolute' start='7'/>", "", "<clock offset='absolute' start='7'>"),
    ],
)
def test_nothing_is_lost_silently(inside: str, devices: str, what: str) -> None:
    assert what in told(imported(domain(inside, devices)), Severity.LOST)


def test_what_no_key_says_is_kept_for_qemu() -> None:
    guest = imported(domain("<features/>"))
    assert guest.table["qemu"]["args"] == ["-machine", "acpi=off"]
    assert told(guest, Severity.PASSED) == ["no ACPI"]


def test_arguments_that_would_break_supervision_are_lost() -> None:
    namespace = " xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'"
    inside = "<q:commandline><q:arg value='-daemonize'/></q:commandline>"
    guest = imported(domain(inside, extra=namespace))
    assert "qemu" not in guest.table
    assert told(guest, Severity.LOST) == ["qemu:commandline"]


def test_a_password_is_told_of_and_not_copied() -> None:
    guest = imported(domain("", "<graphics type='vnc' port='5901' passwd='hunter2'/>"))
    assert "hunter2" not in guest.toml
    assert all("hunter2" not in str(note) for note in guest.notes)
    assert "the display's password" in told(guest, Severity.LOST)


SCREEN = """
<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/><input type='mouse' bus='ps2'/>
<graphics type='spice' port='5930' autoport='no' listen='::1'><listen type='address' address='::1'/></graphics>
<graphics type='egl-headless'><gl rendernode='/dev/dri/renderD129'/></graphics>
<sound model='ich9'><audio id='1'/></sound>
<audio id='1' type='pulseaudio' serverName='/run/user/1000/pulse/native'/>
<video><model type='virtio' heads='2' primary='yes'>
  <acceleration accel3d='yes'/><resolution x='1920' y='1080'/>
</model></video>
<redirdev bus='usb' type='spicevmc'/>
"""


def test_a_screen_and_what_belongs_to_it_come_over_whole() -> None:
    guest = imported(domain("", SCREEN))
    assert guest.is_whole, guest.notes
    assert {table: guest.table[table] for table in ("display", "video", "input", "sound")} == {
        "display": {
            "type": "spice",
            "address": "::1",
            "port": 5930,
            "gl": True,
            "render-node": "/dev/dri/renderD129",
        },
        "video": {"type": "virtio-gl", "heads": 2, "resolution": "1920x1080"},
        "input": {"pointer": "usb-tablet", "keyboard": "usb"},
        "sound": {"model": "hda", "backend": "pa", "server": "/run/user/1000/pulse/native"},
    }
    assert len(guest.spec.usb_redirect) == 1


@pytest.mark.parametrize(
    ("devices", "table", "keys"),
    [
        (
            "<video><model type='qxl' ram='65536' vram='65536' vgamem='16384'/></video>",
            "video",
            {"type": "qxl", "memory": "16 MiB"},
        ),
        ("<video><model type='qxl' vram='65536'/></video>", "video", {"type": "qxl"}),
        (
            "<video><model type='vga' vram='16384' heads='1'/></video>",
            "video",
            {"type": "std", "memory": "16 MiB"},
        ),
        ("<sound model='ac97'/><graphics type='spice' autoport='yes'/>", "sound", {"model": "ac97"}),
        (
            "<sound model='usb'/><audio id='1' type='file' path='/a.wav'/>",
            "sound",
            {"model": "usb", "backend": "wav", "file": "/a.wav"},
        ),
        (
            "<sound model='virtio'/><audio id='1' type='pipewire' runtimeDir='/run/user/1000'/>",
            "sound",
            {"model": "virtio", "backend": "pipewire", "server": "/run/user/1000/pipewire-0"},
        ),
        ("<graphics type='vnc' port='-1' autoport='yes'/>", "display", {"type": "vnc"}),
        ("<graphics type='egl-headless'/>", "video", {"type": "std"}),
    ],
)
def test_each_part_of_a_screen_has_its_keys(devices: str, table: str, keys: dict[str, str]) -> None:
    guest = imported(domain("", devices))
    assert guest.is_whole, guest.notes
    assert guest.table[table] == keys


@pytest.mark.parametrize(
    ("devices", "what"),
    [
        ("<sound model='ich6'/><audio id='1' type='pulseaudio'/>", "type='pulseaudio'>"),
        ("<graphics type='vnc' port='80'/>", "display.port = 80"),
        ("<video><model type='vga' heads='2'/></video>", "video.heads = 2"),
    ],
)
def test_what_a_screen_cannot_have_is_told(devices: str, what: str) -> None:
    found = told(imported(domain("", devices)), Severity.LOST)
    assert any(what in one for one in found), found


def test_a_name_that_no_guest_can_have_is_changed_and_told() -> None:
    guest = imported(domain().replace("web1", "7 of & nine;".replace("& ", "")))
    assert guest.name == "guest-7-of-nine"
    assert any("the name" in what for what in told(guest, Severity.DIFFERS))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not XML"),
        ("<domain", "not XML"),
        ("<network/>", "<network> is no libvirt domain"),
        ("<domain type='lxc'/>", "does not run on QEMU"),
        ("<!DOCTYPE d [<!ENTITY a 'b'>]><domain type='kvm'/>", "DOCTYPE"),
        ("<d>" * 100, "more elements, or deeper ones"),
        (f"<domain>{' ' * (5 << 20)}</domain>", "larger than 4 MiB"),
        (domain().replace("x86_64", "s390x"), "architecture is s390x"),
    ],
)
def test_what_is_no_domain_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(SpecError, match=re.escape(reason)):
        imported(text)


@given(st.text(max_size=40), st.sampled_from(["name", "serial", "cpu", "mac", "size", "path", "arg"]))
def test_no_text_breaks_the_import(text: str, place: str) -> None:
    """Whatever stands in a domain: a file that reads back as what was checked, or a refusal with a reason."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
    pieces = dict.fromkeys(("name", "serial", "cpu", "mac", "size", "path", "arg"), "") | {place: escaped}
    devices = (
        f"<disk type='file' device='disk'><source file='/x{pieces['path']}'/><target dev='vda' bus='virtio'/>"
        f"<serial>{pieces['serial']}</serial></disk>"
        f"<interface type='user'><mac address='{pieces['mac']}'/></interface>"
    )
    whole = domain(f"<cpu><model>{pieces['cpu'] or 'qemu64'}</model></cpu>", devices)
    whole = whole.replace("web1", pieces["name"] or "web1").replace(">64<", f">{pieces['size'] or '64'}<")
    with suppress(SpecError):
        guest = imported(whole)
        assert resolve(tomli.loads(guest.toml), guest.name) == (guest.table, [])

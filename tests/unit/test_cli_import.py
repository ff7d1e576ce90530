"""`qsup import`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tomli

from qsup.cli import full

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = """\
<domain type='kvm'>
  <name>web1</name>
  <memory unit='GiB'>1</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <interface type='network'><source network='lab'/><model type='virtio'/></interface>
    <memballoon model='none'/>
  </devices>
  {}
</domain>
"""
NETWORK = "<network><name>lab</name><bridge name='br-lab'/></network>"


@pytest.fixture
def libvirt(tmp_path: Path) -> Path:
    """A directory as libvirt keeps it: one domain, which starts with the host, and the network that it is on."""
    directory = tmp_path / "qemu"
    for part in ("networks", "autostart"):
        (directory / part).mkdir(parents=True)
    (directory / "web1.xml").write_text(DOMAIN.format(""))
    (directory / "networks" / "lab.xml").write_text(NETWORK)
    (directory / "autostart" / "web1.xml").symlink_to(directory / "web1.xml")
    return directory


def test_a_file_is_printed_and_its_notes_are_apart(libvirt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert full.run(["import", "libvirt", str(libvirt / "web1.xml")]) == 0
    out, err = capsys.readouterr()
    table = tomli.loads(out)
    assert table["autostart"] is True
    assert table["nic"]["net0"]["bridge"] == "br-lab"
    assert "differs: line 7: the network" in err


def test_all_domains_are_written_and_none_is_overwritten(
    libvirt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "import",
        "libvirt",
        "--all",
        "--dir",
        str(libvirt),
        "--write",
        "--config",
        str(tmp_path / "config"),
    ]
    assert full.run(words) == 0
    file = tmp_path / "config" / "guests" / "web1.toml"
    written = file.read_text()
    assert tomli.loads(written)["machine"]["type"] == "q35"
    assert [path.name for path in file.parent.iterdir()] == ["web1.toml"]
    capsys.readouterr()
    assert full.run(words) == 1
    assert "web1.toml is there already" in capsys.readouterr().err
    assert file.read_text() == written
    assert [path.name for path in file.parent.iterdir()] == ["web1.toml"]


def test_json_holds_file_table_and_notes(libvirt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        full.run(["import", "libvirt", "--json", str(libvirt / "web1.xml"), str(libvirt / "gone.xml")]) == 1
    )
    good, bad = json.loads(capsys.readouterr().out)
    assert tomli.loads(good["toml"]) == good["table"]
    assert {"severity", "what", "where", "why"} == set(good["notes"][0])
    assert bad["error"] == "No such file or directory"


def test_strict_fails_for_what_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "web1.xml"
    file.write_text(DOMAIN.format("<novelty/>"))
    assert full.run(["import", "libvirt", str(file)]) == 0
    assert full.run(["import", "libvirt", "--strict", str(file)]) == 1
    assert "lost: line 10: <novelty> in domain" in capsys.readouterr().err


def test_a_command_line_follows_two_hyphens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "a.img"
    image.write_bytes(b"QFI\xfb" + bytes(512))
    words = ["qemu-system-x86_64", "-nodefaults", "-hda", str(image), "-m", "1G"]
    assert full.run(["import", "qemu", "--name", "web1", "--", *words]) == 0
    table = tomli.loads(capsys.readouterr().out)
    assert table["disk"]["hda"]["format"] == "qcow2"
    assert table["memory"]["size"] == "1 GiB"


@pytest.mark.parametrize(
    "words",
    [
        ["import", "libvirt"],
        ["import", "libvirt", "--all", "x.xml"],
        ["import", "libvirt", "--all", "--dir", "/nonexistent"],
        ["import", "libvirt", "--all", "--name", "x"],
        ["import", "qemu"],
        ["import", "virtualbox"],
    ],
)
def test_what_makes_no_sense_is_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert full.run(words) == 2
    assert capsys.readouterr().err

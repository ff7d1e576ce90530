"""`[disk."*"]`: what all devices of a family have in common, wherever it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsup.spec.assign import assigned, assignment
from tests.unit.test_spec_layers import told, written

if TYPE_CHECKING:
    from pathlib import Path

SATA = '[disk."*"]\nbus = "sata"\ncache = "none"\n[nic."*"]\nmodel = "e1000"\n'
VIRTIO = '[disk."*"]\nbus = "virtio-blk"\n'
GUEST = """\
profile = ["sata"]

[disk.root]
file = "/root"

[disk.data]
file = "/data"
bus = "usb"
"""


def test_it_holds_for_every_device_but_for_what_that_says_itself(tmp_path: Path) -> None:
    found = written(tmp_path, {"profiles/sata.toml": SATA, "guests/a.toml": GUEST})
    assert told(found) == []
    spec = found.guests["a"]
    assert {name: (disk.bus, disk.cache) for name, disk in spec.disk.items()} == {
        "root": ("sata", "none"),
        "data": ("usb", "none"),
    }
    assert spec.nic == {}, "it makes no device"


def test_a_later_profile_and_the_guest_s_own_file_win_key_by_key(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        "profiles/sata.toml": SATA,
        "profiles/virtio.toml": VIRTIO,
        "guests/a.toml": 'profile = ["sata", "virtio"]\n[disk.root]\nfile = "/root"\n',
        "guests/a.toml.d/x.toml": '[disk."*"]\nread-only = true\n',
    }
    disk = written(tmp_path, files).guests["a"].disk["root"]
    assert (disk.bus, disk.cache, disk.read_only) == ("virtio-blk", "none", True)


def test_specifiers_in_it_are_resolved(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        "guests/a.toml": '[serial.console]\n[nic.lan]\n[nic."*"]\nhostname = "%n"\n'
    }
    assert written(tmp_path, files).guests["a"].nic["lan"].hostname == "a"


BAD: dict[str, tuple[str, str, str]] = {
    "a wrong value": (
        '\n[disk."*"]\nbus = "sato"\n',
        '[disk.root]\nfile = "/r"\n[disk.data]\nfile = "/d"\n',
        'profiles/p.toml:3: disk."*".bus: "sato" is not allowed; ',
    ),
    "a wrong value where there is no device": (
        '\n[disk."*"]\nbus = "sato"\n',
        "",
        'profiles/p.toml:3: disk."*".bus: "sato" is not allowed; ',
    ),
    "an unknown key where there is no device": (
        '[share."*"]\ncahce = "auto"\n',
        "",
        'profiles/p.toml:2: share."*".cahce: unknown key; ',
    ),
    "what the machine lacks": (
        '[machine]\ntype = "q35"\n[disk."*"]\nbus = "ide"\n',
        '[disk.root]\nfile = "/r"\n',
        'profiles/p.toml:4: disk."*".bus: machine type "q35" has no IDE',
    ),
    "an item of an array": (
        '[nic."*"]\nforward = ["nonsense"]\n',
        "[nic.lan]\n",
        'profiles/p.toml:2: nic."*".forward[0]: "nonsense" is not allowed: ',
    ),
    "what is missing is the device's": (
        '[disk."*"]\nbus = "sata"\n',
        "\n[disk.root]\n",
        "guests/a.toml:3: disk.root.file: is missing",
    ),
    "where there is no family": ('[cpu.features]\n"*" = true\n', "", 'profiles/p.toml:2: cpu.features."*": '),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_it_is_told_once_where_it_stands(case: str, tmp_path: Path) -> None:
    profile, guest, expected = BAD[case]
    found = written(tmp_path, {"profiles/p.toml": profile, "guests/a.toml": f'profile = ["p"]\n{guest}'})
    assert found.broken == {"a"}
    assert len(told(found)) == 1
    assert told(found)[0].startswith(expected)


def test_what_is_no_table_is_no_common_one(tmp_path: Path) -> None:
    found = written(tmp_path, {"guests/a.toml": "disk.'*' = 3\n[disk.root]\nfile = '/r'\n"})
    assert told(found) == [
        'guests/a.toml:1: disk."*": "*" is not allowed: an id is a letter, then up to 19 letters, digits, '
        "or any of _ . -",
        'guests/a.toml:1: disk."*": must be a table, not 3; write [disk.*]',
    ]


def test_it_can_be_set_from_the_command_line() -> None:
    assert assigned("", [assignment('disk."*".cache=none')]) == '[disk."*"]\ncache = "none"\n'

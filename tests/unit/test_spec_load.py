"""Guest files: what is read, what is refused, and how that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsup.spec.load import Configuration, load
from qsup.spec.policy import StopMethod
from qsup.spec.tables.disk import Cache
from qsup.spec.tables.machine import Accel
from qsup.units import Duration, Size
from tests.conftest import ROOT


def configuration(
    root: Path, guests: dict[str, str], profiles: dict[str, str] | None = None
) -> Configuration:
    """Write the files and load them."""
    for folder, files in (("guests", guests), ("profiles", profiles or {})):
        (root / folder).mkdir(exist_ok=True)
        for name, text in files.items():
            (root / folder / f"{name}.toml").write_text(text)
    return load(root)


def problems(root: Path, text: str, **others: str) -> list[str]:
    """What is wrong with a guest of this text."""
    found = configuration(root, {"web1": text, **others})
    assert ("web1" in found.broken) == any("web1.toml" in str(problem) for problem in found.problems)
    return [str(problem) for problem in found.problems]


def test_a_guest_file_becomes_a_spec(tmp_path: Path) -> None:
    text = """
        description = "Web server"
        after = ["db1"]
        [machine]
        accel = "auto"
        [memory]
        size = "2 GiB"
        [disk.root]
        file = "images/../images/web1.qcow2"
        cache = "none"
        [restart]
        delay = "1.5 s"
        [stop]
        methods = ["acpi"]
    """
    spec = configuration(tmp_path, {"web1": text, "db1": ""}).guests["web1"]
    assert (spec.name, spec.after, spec.machine.accel) == ("web1", ("db1",), Accel.AUTO)
    assert spec.memory.size == Size(2 << 30)
    assert spec.disk["root"].file == str(tmp_path / "images/web1.qcow2")
    assert spec.disk["root"].cache is Cache.NONE
    assert spec.restart.delay == Duration(1.5)
    assert spec.stop.methods == (StopMethod.ACPI,)


def test_profiles_are_merged_in_order_and_the_file_wins(tmp_path: Path) -> None:
    profiles = {
        "small": '[memory]\nsize = "64 MiB"\n[cpu]\ncount = 1\n[disk.root]\nfile = "/a"\nread-only = true',
        "fast": '[cpu]\ncount = 4\nmodel = "max"',
    }
    text = 'profile = ["small", "fast"]\n[cpu]\ncount = 2\n[disk.root]\nformat = "raw"'
    spec = configuration(tmp_path, {"web1": text}, profiles).guests["web1"]
    assert (spec.memory.size, spec.cpu.count, spec.cpu.model) == (64 << 20, 2, "max")
    assert (spec.disk["root"].file, spec.disk["root"].read_only, spec.disk["root"].format) == (
        "/a",
        True,
        "raw",
    )


def test_a_problem_of_a_profile_is_told_once_and_breaks_all_who_take_it(tmp_path: Path) -> None:
    takes = 'profile = ["linux"]'
    found = configuration(tmp_path, {"a": takes, "b": takes, "c": ""}, {"linux": "\n\n[cpu]\ncount = 0\n"})
    assert [str(problem) for problem in found.problems] == [
        "profiles/linux.toml:4: cpu.count: 0 is out of range; allowed: 1 to 1024"
    ]
    assert found.broken == {"a", "b"}
    assert list(found.guests) == ["c"]


BAD = {
    "typo = 1": "guests/web1.toml:1: typo: unknown key",
    "[agent]\nenable = true": 'guests/web1.toml:2: agent.enable: unknown key; known keys: "enabled"; did you mean "enabled"?',
    "cpu.features = { avx = 'off' }": 'guests/web1.toml:1: cpu.features.avx: must be true or false, not "off"',
    "cpu.features = { ',avx' = true }": 'guests/web1.toml:1: cpu.features.",avx": ",avx" is not allowed: a CPU feature is up to 40',
    "cpu.features = ['avx']": "guests/web1.toml:1: cpu.features: must be a table, not",
    "name = 'x'": "guests/web1.toml:1: name: unknown key",
    "autostart = 'yes'": 'guests/web1.toml:1: autostart: must be true or false, not "yes"',
    "[cpu]\ncount = true": "guests/web1.toml:2: cpu.count: must be an integer, not true",
    "[cpu]\ncount = 1.5": "guests/web1.toml:2: cpu.count: must be an integer, not 1.5",
    "[cpu]\ncount = 99999": "guests/web1.toml:2: cpu.count: 99999 is out of range; allowed: 1 to 1024",
    "[memory]\nsize = 1024": 'guests/web1.toml:2: memory.size: must be a size, as a string such as "4 GiB", not 1024',
    "[memory]\nsize = '4 GB'": "guests/web1.toml:2: memory.size: '4 GB' is not a size; write \"4 GiB\"",
    "[memory]\nsize = '1 KiB'": "guests/web1.toml:2: memory.size: 1 KiB is not a whole number of MiB",
    "memory = '1 GiB'": 'guests/web1.toml:1: memory: must be a table, not "1 GiB"; write [memory]',
    "[restart]\ndelay = '-1 s'": "guests/web1.toml:2: restart.delay: '-1 s' is not a duration",
    "[restart]\npolicy = 'allways'": 'restart.policy: "allways" is not allowed; allowed: "always", "on-failure", '
    '"never"; did you mean "always"?',
    "[restart]\ndelay = '9 min'": "restart.max-delay: 1 min is less than restart.delay, 9 min",
    "[restart.on]\nqemu-exit = 'pause'": 'restart.on.qemu-exit: "pause" is not possible after qemu-exit; allowed: "restart", "stop"',
    "[restart.on]\ntriple-fault = 'stop'\nguest-reset = 'ignore'": "guests/web1.toml:3: restart.on.guest-reset: "
    '"ignore" is not possible beside triple-fault = "stop"',
    "disk = []": "guests/web1.toml:1: disk: must be a table of tables, not an array; write [disk.ID]",
    "[disk.root]": "guests/web1.toml:1: disk.root.file: is missing",
    "[[disk.root]]\nfile = '/a'": "disk.root: must be a table, not an array",
    "[disk.'a,b']\nfile = '/a'": 'disk."a,b": "a,b" is not allowed: an id is a letter',
    "[disk.root]\nfile = '/a\\u0000b'\nbus = 'virtoi'": 'did you mean "virtio-blk"?',
    '[disk.root]\nfile = "/a\\nb"': "disk.root.file: a path must not hold control characters",
    "[disk.root]\nfile = ''": "disk.root.file: a path must not be empty",
    "[disk.root]\nfile = '/a'\naio = 'native'": 'disk.root.aio: "native" needs cache = "none" or "directsync", not "writeback"',
    "[disk.x]\nfile = '/a'\n[nic.x]": 'nic.x: the id "x" is taken by [disk.x]; ids are unique in a guest',
    "[disk.x]\nfile = '/a'\n[disk.y]\nfile = '/a'": "disk.y.file: the image /a is used twice in this guest (also: disk.x.file)",
    "[boot]\norder = ['disk1']": 'guests/web1.toml:2: boot.order[0]: there is no disk, cdrom or nic "disk1"',
    "[boot]\ncmdline = 'quiet'": "boot.cmdline: needs boot.kernel",
    "[nic.lan]\ntype = 'tap'": 'nic.lan.interface: is missing; type = "tap" needs it',
    "[nic.lan]\nbridge = 'br0'": 'nic.lan.bridge: belongs to type = "bridge", and the type is "user"',
    "[nic.lan]\nforward = ['tcp::99999:80']": 'nic.lan.forward[0]: "99999" is no port',
    "[nic.lan]\nforward = ['tcp:300.1.1.1:80:80']": '"300.1.1.1" is no IPv4 address',
    "[nic.lan]\nforward = ['http:80']": 'nic.lan.forward[0]: "http:80" is not allowed: write "tcp:127.0.0.1:8080:80"',
    "[nic.lan]\nmac = '01:00:00:00:00:00'": 'nic.lan.mac: "01:00:00:00:00:00" is not allowed: write six pairs of hexadecimal digits',
    "after = ['web1']": "guests/web1.toml:1: after[0]: a guest cannot wait for itself",
    "after = ['web2']": 'guests/web1.toml:1: after[0]: there is no guest "web2"',
    "after = 'db1'": 'guests/web1.toml:1: after: must be an array, not "db1"; write ["db1"]',
    "after = [1]": "guests/web1.toml:1: after[0]: must be a string, not 1",
    "profile = 'linux'": 'profile: must be an array of names, not "linux"; write ["linux"]',
    "profile = ['linus']": 'guests/web1.toml:1: profile[0]: there is no profile "linus" in profiles/',
    "description = 1979-05-27": "description: must be a string, not 1979-05-27",
    'description = "a\\u001b[31m"': "description:",
    "[serial.a]\n[serial.b]\n[serial.c]\n[serial.d]\n[serial.e]": 'serial.e: 5 serial ports of type "isa"; a guest can have 4',
    "a = 1\na = 2": "guests/web1.toml:2: not TOML: ",
    "[memory\nsize = 1": "guests/web1.toml:1: not TOML: ",
    "x = " + "[" * 3000: "guests/web1.toml",
    "stop.methods = ['acpi', 'acpi', 'acpi', 'acpi', 'acpi']": "stop.methods: holds 5 values; at most 4 are allowed",
    "stop.repeat = '0 s'": "stop.repeat: 0 s is out of range; allowed: 100 ms to 1 d",
    "restart.window = '9999 d'": "restart.window: 9999 d is out of range; allowed: 1 s to 365 d",
    "restart.limit = 0\nrestart.delay = '0 s'": "guests/web1.toml:2: restart.delay: 0 s is too short for limit = 0",
    "serial.a.log-size = '1 B'": "serial.a.log-size: 1 B is out of range; allowed: 4 KiB to 1 TiB",
    "memory.size = '5000 TiB'": "memory.size: 5000 TiB is more than any x86 machine can address, 4096 TiB",
    "disk.a = { file = '/a', bus = 'ide', read-only = true }": 'disk.a.read-only: a disk on bus = "ide" cannot be read-only',
    "description = '" + "x" * 5000 + "'": 'description: "'
    + "x" * 60
    + '…" is too long; at most 4096 characters',
    "disk.a.file = '" + "/x" * 3000 + "'": "disk.a.file: a path must not be longer than 4095 bytes",
    "cpu.count = 0x" + "f" * 9999: "cpu.count: an integer beyond 64 bits is out of range",
    "cpu.count = " + "9" * 9999: "guests/web1.toml: it holds a number with thousands of digits",
    "disk." + "a." * 300 + "b = 1": "guests/web1.toml: tables and arrays are nested more than 16 deep",
    "after = " + "[" * 300 + "]" * 300: "guests/web1.toml: tables and arrays are nested more than 16 deep",
    "a = 1 b = 2": "guests/web1.toml:1: not TOML: Expected newline or end of document after a statement (column 7)",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_explained_with_line_key_and_what_is_allowed(text: str, tmp_path: Path) -> None:
    found = problems(tmp_path, text)
    assert any(BAD[text] in problem for problem in found), found
    assert all(problem.isprintable() for problem in found)


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    text = "[cpu]\ncount = 0\nmodle = 'host'\n[memory]\nsize = '1 XB'\n[disk.root]\nfile = 3\nbus = 'satan'\n"
    found = problems(tmp_path, text, other="autostart = 1")
    assert len(found) == 6
    assert [problem.split(": ")[0] for problem in found] == [
        "guests/other.toml:1", "guests/web1.toml:2", "guests/web1.toml:3", "guests/web1.toml:5",
        "guests/web1.toml:7", "guests/web1.toml:8",
    ]  # fmt: skip


def test_a_broken_daemon_file_is_told_and_its_defaults_are_used(tmp_path: Path) -> None:
    (tmp_path / "qsup.toml").write_text("parallel-starts = 0\nwatcher = true\n")
    found = load(tmp_path)
    assert [str(problem) for problem in found.problems] == [
        "qsup.toml:1: parallel-starts: 0 is out of range; allowed: 1 to 256",
        'qsup.toml:2: watcher: unknown key; did you mean "watch"?',
    ]
    assert found.daemon.parallel_starts == 4
    assert not found.usable


def test_a_broken_guest_leaves_the_daemons_own_file_usable(tmp_path: Path) -> None:
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests/qsup.toml").write_text("nonsense = 1\n")
    found = load(tmp_path)
    assert found.problems
    assert found.usable


def test_nothing_at_all_is_an_empty_configuration(tmp_path: Path) -> None:
    found = load(tmp_path / "missing")
    assert (found.guests, found.problems) == ({}, ())


def test_the_samples_have_no_problem() -> None:
    found = load(ROOT / "configs")
    assert found.problems == ()
    assert len(found.guests) >= 2

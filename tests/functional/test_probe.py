"""What real QEMUs tell of themselves: the host's, and a newer one where there is one."""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from qsup import clock
from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.errors import SpecError
from qsup.preflight import command
from qsup.preflight.obstacle import Plan
from qsup.probe.prober import Prober
from qsup.spec.model import GuestSpec
from qsup.spec.tables.machine import Accel, Machine
from qsup.spec.tables.rng import Rng
from tests.conftest import kvm_problem
from tests.golden.cases import CASES, CONTEXT, load_case, name


@pytest.fixture(scope="module", params=["qemu_binary", "newer_qemu_binary"])
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def facts(binary: str) -> HostFacts:
    return Prober(None, clock.boot_id()).facts(binary)


def version(binary: str) -> tuple[int, int]:
    """As the binary's own --version has it: QEMU emulator version 7.2.22 (Debian …)."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, *_ = said.split()[3].split(".")
    return int(major), int(minor)


def test_the_alias_of_a_machine_type_is_that_of_the_release(binary: str, facts: HostFacts) -> None:
    major, minor = version(binary)
    assert facts.version.startswith(f"{major}.{minor}.")
    assert facts.machines["q35"].name == f"pc-q35-{major}.{minor}"
    assert facts.machines["pc"].name == f"pc-i440fx-{major}.{minor}"
    assert facts.machines[f"pc-q35-{major}.{minor}"] == facts.machines["q35"]
    assert facts.machines["q35"].max_cpus >= 288
    assert "none" not in facts.machines


def test_kvm_is_what_the_kernel_says(facts: HostFacts) -> None:
    assert facts.kvm == (kvm_problem() is None)
    assert set(facts.cpus) == ({"kvm", "tcg"} if facts.kvm else {"tcg"})


def test_cpu_models_are_told_for_each_accelerator(facts: HostFacts) -> None:
    assert facts.cpu_lacks("tcg", "max") == ()
    assert facts.cpu_lacks("tcg", "host") == ("kvm",)
    assert facts.cpu_lacks("tcg", "Pentium-9000") is None


def test_the_schema_has_what_is_decided_by_it(binary: str, facts: HostFacts) -> None:
    assert {"threads", "native", "io_uring"} >= facts.members["BlockdevAioOptions"] >= {"threads", "native"}
    assert {"user", "tap", "bridge", "stream", "dgram", "vhost-user"} <= facts.members["NetClientDriver"]
    assert {"memory-backend-memfd", "iothread", "throttle-group", "secret"} <= facts.members["ObjectType"]
    assert {"socket", "pty", "file"} <= facts.members["ChardevBackendKind"]
    assert {"server", "wait", "addr", "logfile"} <= facts.members["ChardevSocket"]
    assert {"filename", "aio", "driver", "node-name"} <= facts.members["BlockdevOptionsFile"]
    assert {"pause", "shutdown", "exit-failure", "none"} == facts.members["PanicAction"]
    assert {"gtk", "none", "egl-headless"} & facts.members["DisplayType"] >= {"none"}
    assert facts.has_member("commands", "query-qmp-schema")
    assert not facts.has_member("commands", "make-coffee")
    # Of both releases that this was tried with, only the newer one reconnects in milliseconds.
    assert ("reconnect-ms" in facts.members["NetdevStreamOptions"]) == (version(binary) >= (9, 2))


def test_devices_have_their_properties(facts: HostFacts) -> None:
    assert facts.has_property("virtio-blk-pci", "iothread")
    assert facts.has_property("virtio-blk-pci", "bootindex")
    assert not facts.has_property("virtio-blk-pci", "wings")
    assert facts.has_device("pcie-root-port")
    assert not facts.has_device("qemu64-x86_64-cpu"), "CPUs are told as models"


def test_options_have_their_parameters(binary: str, facts: HostFacts) -> None:
    assert facts.has_option("smp", "dies")
    assert facts.has_option("sandbox", "spawn")
    assert not facts.has_option("sandbox", "castle")
    assert facts.has_option("run-with") == (version(binary) >= (8, 1))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_no_golden_command_line_is_said_to_lack_what_it_has(case: Path, facts: HostFacts) -> None:
    spec = load_case(case)
    try:
        made = build(spec, facts, CONTEXT)
    except SpecError as error:
        pytest.skip(f"this QEMU cannot do it: {error}")
    lacking = [str(one) for one in command.obstacles(Plan(spec, facts, made))]
    # Modules may not be installed; all else is accepted by these QEMUs, as test_argv_accepted shows.
    known = ("has no device", "that is not installed")
    assert [one for one in lacking if not any(words in one for words in known)] == []


def test_what_a_qemu_lacks_is_told_by_the_table_that_asks_for_it(facts: HostFacts) -> None:
    spec = GuestSpec(name="web1", machine=Machine(accel=Accel.TCG), rng=Rng(enabled=True))
    poorer = msgspec.structs.replace(
        facts,
        devices={**facts.devices, "virtio-rng-pci": frozenset({"rng"})},
        members={**facts.members, "ObjectType": frozenset({"secret"})},
    )
    told = [str(one) for one in command.obstacles(Plan(spec, poorer, build(spec, facts, CONTEXT)))]
    assert any(one.startswith("rng: ") and 'has no kind of object "rng-random"' in one for one in told)


@pytest.fixture
def wrapper(binary: str, tmp_path: Path) -> Path:
    """A script that becomes QEMU, and counts how often."""
    script = tmp_path / "qemu"
    script.write_text(f'#!/bin/sh\necho >>{tmp_path}/starts\nexec {binary} "$@"\n')
    script.chmod(0o755)
    return script


def starts(wrapper: Path) -> int:
    return len(wrapper.with_name("starts").read_text().splitlines())


def test_a_binary_is_asked_once_until_something_changes(wrapper: Path, tmp_path: Path) -> None:
    cache, boot = tmp_path / "cache", clock.boot_id()
    first = Prober(cache, boot).facts(str(wrapper))
    asked = starts(wrapper)
    assert Prober(cache, boot).facts(str(wrapper)) == first
    assert starts(wrapper) == asked
    (record,) = cache.iterdir()
    marks = [mark["path"] for mark in json.loads(record.read_text())["marks"]]
    assert any(os.path.basename(path).startswith("qemu-system") for path in marks), (
        "what the script runs counts"
    )
    os.utime(wrapper)
    assert Prober(cache, boot).facts(str(wrapper)) == first
    assert starts(wrapper) == 2 * asked
    Prober(cache, "another boot").facts(str(wrapper))
    assert starts(wrapper) == 3 * asked


def test_no_qemu_is_left_behind(binary: str, facts: HostFacts) -> None:
    left = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_ours(entry / "cmdline", entry / "status")
    ]
    assert left == []


ASKER = """
import sys, time
from qsup.probe.ask import OPTIONS
from qsup.probe.conversation import Bounds, Conversation
with Conversation(sys.argv[1], OPTIONS, Bounds(time.monotonic() + 60)) as qemu:
    print(qemu.pid, flush=True)
    sys.stdin.read()
"""


def test_a_qemu_that_is_asked_ends_with_a_daemon_that_is_killed(binary: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        assert asker.stdout is not None
        pidfd = os.pidfd_open(int(asker.stdout.readline()))
        asker.kill()
        ended, _, _ = select.select([pidfd], [], [], 10)
        os.close(pidfd)
    assert ended


def _is_ours(cmdline: Path, status: Path) -> bool:
    try:
        return b"socket,id=probe" in cmdline.read_bytes() and f"PPid:\t{os.getpid()}\n" in status.read_text()
    except OSError:
        return False


def test_a_cached_answer_is_much_cheaper_than_asking(binary: str, tmp_path: Path) -> None:
    def took(prober: Prober) -> float:
        began = time.perf_counter()
        prober.facts(binary)
        return time.perf_counter() - began

    asking = took(Prober(tmp_path, clock.boot_id()))
    reading = statistics.median(took(Prober(tmp_path, clock.boot_id())) for _ in range(9))
    assert reading < asking / 10

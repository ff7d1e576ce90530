"""What is read out of QEMU's answers, and that nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsup.vitals import answers
from qsup.vitals.answers import Registers

REAL = """
CPU#0
EAX=0000aa55 EBX=00000000 ECX=00000000 EDX=00000080
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00006f04
EIP=00007c02 EFL={flags} [-------] CPL=0 II=0 A20=1 SMM=0 HLT={halted}
ES =0000 00000000 0000ffff 00009300
"""
LONG = """
CPU#3
RAX=0000000000000000 RBX=0000000000000003 RCX=0000000000000000 RDX=0000000000000000
R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000000000
RIP=ffffffff81a2f0ab RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 ffffffff 00c00000
"""
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cpu-index", "thread-id", "stats", "name", "value", "status", "wr_operations"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("flags", "halted", "expected"),
    [
        ("00000002", "1", Registers(0x7C02, interrupts=False, halted=True)),
        ("00000202", "1", Registers(0x7C02, interrupts=True, halted=True)),
        ("00000246", "0", Registers(0x7C02, interrupts=True, halted=False)),
    ],
)
def test_registers_tell_where_a_vcpu_is_and_what_it_takes(
    flags: str, halted: str, expected: Registers
) -> None:
    assert answers.registers(REAL.format(flags=flags, halted=halted)) == expected


def test_registers_of_64_bits_are_read_as_well() -> None:
    assert answers.registers(LONG) == Registers(0xFFFFFFFF81A2F0AB, interrupts=True, halted=True)


def test_a_sum_is_made_of_the_counters_that_are_known() -> None:
    names = {"io_exits": 5, "irq_injections": 7, "exits": 1000, "halt_exits": [1, 2]}
    vcpu = {"provider": "kvm", "stats": [{"name": name, "value": value} for name, value in names.items()]}
    assert answers.served([vcpu, vcpu]) == 24


def test_no_counters_are_not_a_count_of_zero() -> None:
    assert answers.served([]) is None
    assert answers.served([{"provider": "kvm", "stats": [{"name": "exits", "value": 3}]}]) is None


def test_requests_are_summed_over_kinds_and_disks() -> None:
    disk = {
        "device": "d",
        "stats": {"rd_operations": 1, "wr_operations": 2, "flush_operations": 4, "rd_bytes": 512},
    }
    assert answers.disk_requests([disk, disk]) == 14
    assert answers.disk_requests([]) == 0


def test_vcpus_are_told_with_their_threads() -> None:
    cpus = [{"cpu-index": 0, "thread-id": 12, "qom-path": "/x"}, {"cpu-index": 1, "thread-id": 13}]
    assert answers.vcpu_threads(cpus) == [(0, 12), (1, 13)]


def test_a_run_state_is_a_short_word() -> None:
    assert answers.run_state({"status": "running", "running": True}) == "running"
    assert answers.run_state({"status": "x" * 100}) == "x" * 40


@given(JSON)
def test_nonsense_says_nothing(answer: Any) -> None:
    assert answers.run_state(answer) is None or isinstance(answer["status"], str)
    assert isinstance(answers.vcpu_threads(answer), list)
    assert answers.registers(answer) is None
    assert isinstance(answers.served(answer), int | None)
    assert isinstance(answers.disk_requests(answer), int | None)

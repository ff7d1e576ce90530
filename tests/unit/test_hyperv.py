from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qsup.spec.tables.cpu import Cpu
from qsup.spec.tables.hyperv import Hyperv
from qsup.spec.tables.machine import Accel, Machine
from tests.unit.argv_guests import KVM, TCG, built
from tests.unit.argv_parsing import values
from tests.unit.test_spec_load import problems

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.argv.facts import HostFacts

RECOMMENDED = (
    "host,hv-relaxed=on,hv-vapic=on,hv-vpindex=on,hv-runtime=on,hv-synic=on,hv-stimer=on,hv-time=on,"
    "hv-frequencies=on,hv-tlbflush=on,hv-ipi=on,hv-spinlocks=8191"
)


def cpu(facts: HostFacts = KVM, accel: Accel = Accel.KVM, **keys: Any) -> str:
    made = built(facts, machine=Machine(accel=accel), cpu=Cpu(model="host"), hyperv=Hyperv(**keys))
    (value,) = values(made, "-cpu")
    assert isinstance(value, str)
    return value


def test_enabled_means_the_recommended_set() -> None:
    assert cpu(enabled=True) == RECOMMENDED
    assert cpu() == "host"


def test_a_key_by_itself_adds_to_the_set_or_stands_alone() -> None:
    assert cpu(enabled=True, vendor_id="KVM Hv") == f"{RECOMMENDED},hv-vendor-id=KVM Hv"
    assert cpu(relaxed=True, spinlocks=4096) == "host,hv-relaxed=on,hv-spinlocks=4096"


def test_what_is_recommended_gives_way_where_its_needs_are_turned_off() -> None:
    chosen = Hyperv(enabled=True, vpindex=False)
    assert not list(chosen.wrong())
    off = cpu(enabled=True, vpindex=False)
    assert "hv-vpindex=off" in off
    assert not {"hv-synic=on", "hv-stimer=on", "hv-tlbflush=on", "hv-ipi=on"} & set(off.split(","))


def test_auto_leaves_them_out_where_there_is_no_kvm() -> None:
    assert cpu(TCG, Accel.AUTO, enabled=True) == "max"
    assert cpu(KVM, Accel.AUTO, enabled=True) == RECOMMENDED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[hyperv]\nstimer = true\n",
            "hyperv.stimer: needs vpindex = true, synic = true, time = true as well",
        ),
        (
            "[hyperv]\nenabled = true\nvpindex = false\nipi = true\n",
            "hyperv.ipi: needs vpindex = true as well",
        ),
        ("[machine]\naccel = 'tcg'\n[hyperv]\nrelaxed = true\n", "Hyper-V enlightenments are KVM's"),
        ("[hyperv]\nvendor-id = 'a,b'\n", "a vendor id is up to 12 letters"),
        ("[hyperv]\nspinlocks = 1\n", "hyperv.spinlocks"),
    ],
)
def test_what_kvm_would_refuse_is_told(text: str, told: str, tmp_path: Path) -> None:
    assert told in "\n".join(problems(tmp_path, text))


def test_what_is_turned_off_needs_no_kvm(tmp_path: Path) -> None:
    assert not problems(tmp_path, "[machine]\naccel = 'tcg'\n[hyperv]\nrelaxed = false\n")

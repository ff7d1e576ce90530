"""Command lines for hardware that this host lacks: QEMU takes all that they say, and misses the hardware alone.

QEMU sets all properties of a device, and refuses those that it does not know, before it looks for what is behind.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import LaunchContext
from tests.functional.peers import skip_if_the_hardware_is_here
from tests.functional.test_argv_accepted import TOKEN, Launched
from tests.golden.cases import CASES, load_case

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.argv.invocation import Option

MISSING: Final = {
    "vfio-pci": "no such host device",
    "vhost-vsock-pci": "failed to open vhost device",
    "vhost-vsock-device": "failed to open vhost device",
}
"""Drivers of hardware, and what QEMU says where it is not there."""


def driver(option: Option) -> str:
    return str(json.loads(option.value or "")["driver"]) if option.flag == "-device" else ""


def needy() -> list[object]:
    """Each device of the written command lines that needs hardware: the case, and the device's place in the line."""
    return [
        pytest.param(case, number, id=f"{case.stem}-{number}")
        for case in CASES
        for number in range(len(load_case(case).pci) + load_case(case).vsock.enabled)
    ]


@pytest.mark.parametrize(("extra", "said"), [({}, None), ({"qsup-knows": 1}, "Property .* not found")])
@pytest.mark.parametrize(("case", "number"), needy())
def test_qemu_misses_nothing_but_the_hardware(
    case: Path, number: int, extra: dict[str, int], said: str | None, each_qemu: str, tmp_path: Path
) -> None:
    spec = load_case(case)
    skip_if_the_hardware_is_here(spec)
    invocation = build(spec, HostFacts(each_qemu, kvm=False), LaunchContext(TOKEN, str(tmp_path), "/state"))
    tried = [option for option in invocation.options if driver(option) in MISSING][number]
    changed = json.dumps({**json.loads(tried.value or ""), **extra})
    options = tuple(
        msgspec.structs.replace(option, value=changed) if option is tried else option
        for option in invocation.options
        if option is tried or driver(option) not in MISSING
    )
    with (
        Launched(msgspec.structs.replace(invocation, options=options), tmp_path) as guest,
        pytest.raises(AssertionError, match=said or MISSING[driver(tried)]),
    ):
        guest.greet()

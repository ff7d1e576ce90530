"""The guests whose command lines are written down: those of this directory, and the samples that users get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup.argv.facts import FirmwareDescriptor, HostFacts
from qsup.argv.invocation import LaunchContext
from qsup.spec.load import load

if TYPE_CHECKING:
    from qsup.spec.model import GuestSpec

GOLDEN: Final = Path(__file__).parent
SAMPLES: Final = GOLDEN.parents[1] / "configs"
CASES: Final = sorted(
    path
    for directory in (GOLDEN, SAMPLES)
    for path in directory.glob("guests/*.toml")
    if not path.stem.endswith("@")
)
"""The guest files; each lies in a whole configuration directory. Templates are no guests."""

FLASH: Final = "/usr/share/OVMF/OVMF_"
FIRMWARE: Final = (
    FirmwareDescriptor(
        path="/usr/share/qemu/firmware/40-edk2-x86_64-secure-enrolled.json",
        interfaces=("uefi",),
        targets=(("x86_64", ("pc-q35-*",)),),
        features=frozenset({"enrolled-keys", "requires-smm", "secure-boot"}),
        mode="split",
        code=f"{FLASH}CODE_4M.ms.fd",
        nvram=f"{FLASH}VARS_4M.ms.fd",
    ),
    FirmwareDescriptor(
        path="/usr/share/qemu/firmware/60-edk2-x86_64.json",
        interfaces=("uefi",),
        targets=(("x86_64", ("pc-i440fx-*", "pc-q35-*")),),
        features=frozenset({"acpi-s3"}),
        mode="split",
        code=f"{FLASH}CODE_4M.fd",
        nvram=f"{FLASH}VARS_4M.fd",
    ),
)
"""The firmware of Debian, which is what the goldens show."""
FACTS: Final = HostFacts(binary="qemu-system-x86_64", kvm=False, firmware=FIRMWARE)
"""A host without KVM: then a sample that takes what there is can be tried everywhere."""
CONTEXT: Final = LaunchContext(
    token="0123456789abcdef",
    run_dir="/run/qsup/guests/NAME/0123456789abcdef",
    state_dir="/var/lib/qsup/guests/NAME",
)


def name(case: Path) -> str:
    """The name of a case in a test's id."""
    return case.stem


def load_case(case: Path) -> GuestSpec:
    """The guest of one file, as the daemon loads it."""
    configuration = load(case.parents[1])
    assert not configuration.problems
    return configuration.guests[case.stem]

"""The guests whose command lines are written down: those of this directory, and the samples that users get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import HostFacts, LaunchContext
from qsup.spec.load import load

if TYPE_CHECKING:
    from qsup.spec.model import GuestSpec

GOLDEN: Final = Path(__file__).parent
SAMPLES: Final = GOLDEN.parents[1] / "configs"
CASES: Final = sorted(path for directory in (GOLDEN, SAMPLES) for path in directory.glob("guests/*.toml"))
"""The guest files; each lies in a whole configuration directory."""

FACTS: Final = HostFacts(binary="qemu-system-x86_64", kvm=False)
"""A host without KVM: then a sample that takes what there is can be tried everywhere."""
CONTEXT: Final = LaunchContext(token="0123456789abcdef", run_dir="/run/qsup/guests/NAME/0123456789abcdef")


def name(case: Path) -> str:
    """The name of a case in a test's id."""
    return case.stem


def load_case(case: Path) -> GuestSpec:
    """The guest of one file, as the daemon loads it."""
    configuration = load(case.parents[1])
    assert not configuration.problems
    return configuration.guests[case.stem]

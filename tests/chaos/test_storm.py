"""Two short storms, always the same, without a spawner and with one; ``make chaos`` runs long ones, each another.

``QSUP_CHAOS_SEED=7 pytest tests/chaos`` walks another way, and the one of the next seed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.storm import Storm

STEPS = 50
SEED = int(os.environ.get("QSUP_CHAOS_SEED", "1"))


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
async def test_a_storm_loses_no_guest_doubles_none_and_leaves_nothing(
    seed: int, tmp_path: Path, qemu_binary: str
) -> None:
    outcome = await Storm(tmp_path, qemu_binary, seed).run(steps=STEPS)
    assert outcome.steps == STEPS
    print(outcome)

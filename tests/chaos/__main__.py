"""``python -m tests.chaos``: storms of some minutes, one after the other, and what they have come to."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.storm import Broken, Storm


def main() -> int:
    """Exit status 1 if an invariant did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="that of an earlier storm, to see it again")
    parser.add_argument("--steps", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        print("qemu-system-x86_64 is not installed", file=sys.stderr)
        return 77
    kind = "without" if seed % 2 else "with"
    print(f"a storm of {options.minutes:g} minutes, seed {seed}, {kind} a spawner", flush=True)
    with tempfile.TemporaryDirectory(prefix="storm") as root:
        storm = Storm(Path(root), qemu, seed)
        try:
            outcome = asyncio.run(storm.run(steps=options.steps, seconds=60 * options.minutes))
        except Broken as broken:
            print(broken, file=sys.stderr)
            return 1
    print(outcome)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

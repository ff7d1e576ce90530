"""``python -m tests.fuzz [TARGET…]``: atheris looks for inputs that make a reader fall, by the code that they reach."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Exit status 1 if something fell; the input that did it is named, and kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all of them together")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed; some Pythons have wheels of it: pip install atheris", file=sys.stderr
        )
        return 77
    if options.one:
        return _one(options.one, options.minutes)
    from tests.fuzz.targets import TARGETS

    chosen = options.targets or list(TARGETS)
    if unknown := sorted({*chosen} - set(TARGETS)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(TARGETS)}")
    # libFuzzer ends its process, so each has one of its own.
    each = str(options.minutes / len(chosen))
    ends = [
        subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--one", name, "--minutes", each], check=False
        ).returncode
        for name in chosen
    ]
    fell = [name for name, end in zip(chosen, ends, strict=True) if end]
    print(f"fell: {', '.join(fell)}" if fell else f"nothing fell: {', '.join(chosen)}")
    return int(bool(fell))


def _one(name: str, minutes: float) -> int:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["qsup"]):
        from tests.fuzz.targets import TARGETS
    target, seeds = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        print(f"--- {name}", flush=True)
        limits = [
            f"-max_total_time={max(1, round(60 * minutes))}",
            "-max_len=8192",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ]
        atheris.Setup(
            [sys.argv[0], *limits, "-print_final_stats=1", f"-artifact_prefix=/tmp/fell-{name}-", corpus],
            target,
        )
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

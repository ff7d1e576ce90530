"""``python -m tests.bench [start] [restart] [list] [rest] [adoption] [deaths] [supervisord]``: what `make bench` runs.

``python -m tests.bench import DIR`` measures imports on libvirt's own test domains instead.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from qsup.probe.kvm import kvm_trouble
from tests.bench import adoption, deaths, importing, listing, peer, rest, restart, start
from tests.bench.pairs import PAIRS
from tests.bench.place import MACHINES

PARTS = ("start", "restart", "list", "rest", "adoption", "deaths", "supervisord")


def main() -> None:
    """Measure what is asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of runs for each ratio")
    parser.add_argument("--binary", help="for import: the QEMU to try command lines on")
    parser.add_argument("--verbose", action="store_true", help="for import: name each that QEMU refuses")
    options = parser.parse_args()
    if options.parts[:1] == ["import"] and len(options.parts) == 2:
        binary = options.binary or shutil.which("qemu-system-x86_64") or ""
        importing.measure(Path(options.parts[1]), binary, options.verbose)
        return
    if not set(options.parts) <= set(PARTS):
        parser.error(f"choose of {', '.join(PARTS)}")
    binary = shutil.which("qemu-system-x86_64")
    if binary is None:
        sys.exit("qemu-system-x86_64 is not installed; scripts/setup installs it")
    version = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout
    print(f"{version.splitlines()[0]}; KVM: {kvm_trouble() or 'works'}; Python {platform.python_version()}")
    print("each row: minimum, median, maximum", flush=True)
    for part in options.parts or PARTS:
        asyncio.run(_measure(part, binary, options.pairs))


async def _measure(part: str, binary: str, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        match part:
            case "start" | "restart":
                await _each_machine(part, Path(home), binary, pairs)
            case "list":
                await listing.measure(Path(home), binary, pairs)
            case "rest":
                await rest.measure(Path(home), binary)
            case "adoption":
                await adoption.measure(Path(home), binary)
            case "deaths":
                await deaths.detection(Path(home) / "many", binary)
                await deaths.cycles(Path(home) / "one", binary)
            case "supervisord":
                await peer.measure(Path(home), binary, pairs)


async def _each_machine(part: str, home: Path, binary: str, pairs: int) -> None:
    measure = start.measure if part == "start" else restart.measure
    for number, machine in enumerate(MACHINES):
        trouble = kvm_trouble() if "KVM" in machine else None
        if trouble:
            print(f"{part} ({machine}): not measured: {trouble}")
        else:
            await measure(home / str(number), binary, machine, pairs)


main()

"""``qsup list`` with ten guests, beside ``virsh list`` with ten domains, and beside Python doing next to nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.libvirt import libvirt
from tests.bench.pairs import Measure, compare
from tests.bench.place import place
from tests.functional.harness import IDLE

COUNT = 10


async def measure(root: Path, binary: str, pairs: int) -> None:
    """The wall time of the whole command, interpreter included; it is the console script, as a user has it."""
    program = Path(sys.executable).with_name("qsup")
    if not program.exists():
        print("list: not measured: qsup is not installed beside this python")
        return
    names = [f"guest{number}" for number in range(COUNT)]
    async with place(root, binary, dict.fromkeys(names, IDLE)) as (here, wire):
        for name in names:
            wire.execute("guest-start", name=name)
            wire.execute("guest-pause", name=name)
        ours = _command(str(program), "--socket", str(here.socket), "list")
        await asyncio.to_thread(_compare, ours, binary, pairs)


def _compare(ours: Measure, binary: str, pairs: int) -> None:
    what = f"list, {COUNT} guests"
    python = _command(sys.executable, "-c", "import socket, sys")
    compare(what, "qsup list", "python, next to nothing", ours, python, pairs)
    with libvirt(binary, COUNT) as virsh:
        if virsh is None:
            print(
                "list: not compared with virsh: no libvirtd can be started here (it takes root and its packages)"
            )
        else:
            compare(what, "qsup list", "virsh list", ours, _command(*virsh, "list"), pairs)


def _command(*words: str) -> Measure:
    def once() -> float:
        began = time.perf_counter()
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True)
        took = time.perf_counter() - began
        assert "list" not in words or done.stdout.count("paused") == COUNT, done.stdout
        return took

    return once

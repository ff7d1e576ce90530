"""``qsup list`` with ten guests, against ``virsh list`` with ten domains, and against Python doing next to nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from tests.bench.pairs import Measure, alternate, report
from tests.functional.harness import IDLE, site

COUNT = 10
DOMAIN = """<domain type='qemu'><name>qsup-bench-{}</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<on_poweroff>destroy</on_poweroff><devices><emulator>{}</emulator></devices></domain>"""


async def measure(root: Path, binary: str, pairs: int) -> None:
    """The wall time of the whole command, interpreter included."""
    program = Path(sys.executable).with_name("qsup")
    if not program.exists():
        print("list: not measured: qsup is not installed beside this python")
        return
    async with site(root) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{binary}"\n')
        names = [f"guest{number}" for number in range(COUNT)]
        for name in names:
            here.guest(name, IDLE)
        await here.start(development=False)
        for name in names:
            await here.run("guest-start", name=name)
            await here.run("guest-pause", name=name)
        ours = _command(str(program), "--socket", str(here.socket), "list")
        python = _command(sys.executable, "-c", "import socket, sys")
        report(
            "list, 10 guests", "qsup list", "python, next to nothing", *await alternate(ours, python, pairs)
        )
        if await _domains(root, binary):
            virsh = _command("virsh", "-c", "qemu:///system", "list")
            report("list, 10 guests", "qsup list", "virsh list", *await alternate(ours, virsh, pairs))
            await _forget_domains()
        else:
            print("list: not compared with virsh: no libvirtd answers here")


def _command(*words: str) -> Measure:
    async def once() -> float:
        began = time.perf_counter()
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*words, stdin=null, stdout=null)
        assert await process.wait() == 0, words
        return time.perf_counter() - began

    return once


async def _run(*words: str) -> int:
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *words, stdin=null, stdout=null, stderr=null, env=os.environ
    )
    return await process.wait()


async def _domains(root: Path, binary: str) -> bool:
    """Ten paused domains on a libvirtd that answers."""
    if shutil.which("virsh") is None or await _run("virsh", "-c", "qemu:///system", "version"):
        return False
    for number in range(COUNT):
        file = root / f"domain{number}.xml"
        file.write_text(DOMAIN.format(number, binary))
        if await _run("virsh", "-c", "qemu:///system", "create", "--paused", str(file)):
            return False
    return True


async def _forget_domains() -> None:
    for number in range(COUNT):
        await _run("virsh", "-c", "qemu:///system", "destroy", f"qsup-bench-{number}")

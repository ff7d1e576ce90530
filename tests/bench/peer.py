"""supervisord keeping a bare QEMU up: from its death until a new one's vCPUs run, beside qsup's figure."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import time
from pathlib import Path

from qsup.argv.build import build
from qsup.argv.invocation import LaunchContext
from qsup.probe import probe
from qsup.spec.load import load
from tests.bench.pairs import alternate, report
from tests.bench.starts import GUEST, MACHINES, death_to_running
from tests.functional.harness import killed, site

CONFIG = """
[supervisord]
nodaemon=true
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
childlogdir={home}
[program:bench]
command={command}
autorestart=true
startsecs=0
"""


async def measure(root: Path, binary: str, pairs: int) -> None:
    """supervisord's QEMU has a QMP socket of its own and no -S, so that it runs as soon as it can."""
    program = shutil.which("supervisord")
    if program is None:
        print("supervisord: not measured: it is not installed")
        return
    async with site(root) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{binary}"\n')
        here.guest("bench", GUEST.format(*MACHINES["q35, TCG"]))
        await here.start(development=False)
        await here.run("guest-start", name="bench")
        argv = build(
            load(here.config).guests["bench"], probe(binary), LaunchContext("0" * 16, str(root))
        ).argv
        words = [word.replace(",fd=4", f",path={root}/peer.sock") for word in argv if word != "-S"]
        config = root / "supervisord.conf"
        config.write_text(
            CONFIG.format(home=root, command=" ".join(f"'{word}'" for word in words).replace("%", "%%"))
        )
        daemon = await asyncio.create_subprocess_exec(
            program,
            "-n",
            "-c",
            str(config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            pid = await _runs(root, None)

            async def theirs() -> float:
                nonlocal pid
                began = time.perf_counter()
                await killed(pid)
                pid = await _runs(root, pid)
                return time.perf_counter() - began

            async def ours() -> float:
                return await death_to_running(here)

            report("death to running", "qsup", "supervisord", *await alternate(ours, theirs, min(pairs, 5)))
        finally:
            daemon.terminate()
            await daemon.wait()


async def _runs(root: Path, old: int | None) -> int:
    """Wait until a new QEMU answers on its socket; its pid."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(root / "peer.sock")
                raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                pid = int.from_bytes(raw[:4], "little")
                greeting = await reader.readline()
                writer.close()
                if pid != old and b"QMP" in greeting:
                    return pid
            await asyncio.sleep(0.001)

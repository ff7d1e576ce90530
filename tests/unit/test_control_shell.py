"""QEMU's own interactive client, ``qmp-shell``, at the control socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from qsup.phase import Verb
from tests.fakes.control_bench import running_bench


async def test_qmp_shell_can_drive_it(tmp_path: Path) -> None:
    shell = Path(sys.executable).parent / "qmp-shell"
    async with running_bench(tmp_path) as bench:
        done = await asyncio.to_thread(
            subprocess.run,
            [str(shell), bench.path],
            input='query-guests names=["web1"]\nguest-pause name=web1\nguest-pause name=nope\n',
            env={"HOME": str(tmp_path), "TERM": "dumb"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        assert '"phase": "running"' in done.stdout
        assert '"message": "pause done after 0.1 s"' in done.stdout
        assert '"class": "GuestNotFound"' in done.stdout
        assert [(name, verb) for name, verb, _ in bench.guests.asked] == [("web1", Verb.PAUSE)]

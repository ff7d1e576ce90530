"""A short, seeded storm: daemon and QEMUs are killed at random moments, among an operator's random commands.

Whatever happens, no guest ever has two QEMUs, what an operator wanted last is what comes about, and nothing is left
over. The seed is in the test's name; ``QSUP_CHAOS_SEED=7 pytest tests/chaos`` walks another way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import pytest
from qemu.qmp import ExecuteError

from tests.functional.harness import IDLE, Site, site

GUESTS = [f"guest{number}" for number in range(5)]
STEPS = 60
SEEDS = [int(os.environ["QSUP_CHAOS_SEED"])] if "QSUP_CHAOS_SEED" in os.environ else [1, 2]
VERBS = {
    "start": "running",
    "restart": "running",
    "stop": "stopped",
    "kill": "stopped",
    "pause": "",
    "resume": "",
}
DEEDS = [*VERBS, "SIGKILL", "SIGKILL", "SIGTERM", "SIGSTOP", "daemon", "daemon and QEMU", "reload"]


class Storm:
    """A site in trouble."""

    def __init__(self, here: Site, seed: int) -> None:
        self.here = here
        self.chance = random.Random(seed)
        self.wanted: dict[str, str] = {}

    async def step(self) -> None:
        """One thing happens to one guest, or to the daemon."""
        deed, name = self.chance.choice(DEEDS), self.chance.choice(GUESTS)
        if deed in VERBS:
            await self.command(deed, name)
        elif deed == "reload":
            await self.here.run("reload-config")
        elif deed.startswith("daemon"):
            await self.here.kill()
            if deed != "daemon":
                self.signal(name, signal.SIGKILL)
            await self.here.start(development=False)
        else:
            self.signal(name, signal.Signals[deed])
            await asyncio.sleep(self.chance.random() * 0.1)
            self.signal(name, signal.SIGCONT)

    async def command(self, verb: str, name: str) -> None:
        """A command, waited for or not. It may fail, as others are at work; it counts all the same."""
        with contextlib.suppress(ExecuteError):
            await self.here.run(f"guest-{verb}", name=name, wait=self.chance.random() < 0.5)
        if VERBS[verb]:
            self.wanted[name] = VERBS[verb]

    def signal(self, name: str, number: signal.Signals) -> None:
        for pid in self.qemus(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def qemus(self, name: str) -> list[int]:
        """Every QEMU that has the guest's lock file open."""
        lock = self.here.state / "guests" / name / "lock"
        found = []
        for link in Path("/proc").glob("[0-9]*/fd/3"):
            with contextlib.suppress(OSError):
                process = link.parents[1]
                if link.readlink() == lock and b"qsup-" in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found

    def nobody_is_doubled(self) -> None:
        for name in GUESTS:
            assert len(self.qemus(name)) <= 1, name

    async def calm(self) -> None:
        """What was wanted comes about, and no more."""
        for name in GUESTS:
            view = await self.here.view(name)
            assert view["wanted"] == self.wanted.get(name, view["wanted"]), name
            runs = view["wanted"] == "running"
            await self.here.phase(name, *(("running", "paused") if runs else ("stopped",)))
            assert len(self.qemus(name)) == runs, name


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_storm_loses_no_guest_and_doubles_none(seed: int, tmp_path: Path, qemu_binary: str) -> None:
    async with site(tmp_path) as here:
        (here.config / "qsup.toml").write_text(f'qemu-binary = "{qemu_binary}"\n')
        for number, name in enumerate(GUESTS):
            after = f'after = ["{GUESTS[number - 1]}"]\n' if number else ""
            policy = '[restart]\ndelay = "100 ms"\nlimit = 0\n'
            here.guest(name, f"autostart = true\n{after}{IDLE}{policy}")
        await here.start(development=False)
        storm = Storm(here, seed)
        for _ in range(STEPS):
            await storm.step()
            storm.nobody_is_doubled()
            assert "Traceback" not in here.log, here.log
            assert "a bug in qsup" not in here.log, here.log
        await storm.calm()

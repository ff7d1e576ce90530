"""``python -m tests.bench.vitals cost`` and ``… alarms [--minutes N]``: the watch over guests that are all well.

``cost`` measures the CPU time that watching takes, with the timeouts that guests have by default. ``alarms`` keeps
all CPUs and the disk of this host busy, and counts what is told of guests that only have to share them: it should be
nothing. At the end it stops one QEMU to see that real trouble is still told in time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qsup import clock
from qsup.probe.kvm import kvm_trouble
from qsup.spec.tables.hang import Hang
from qsup.units import Duration
from qsup.vitals.course import Course
from qsup.vitals.sample import Sample
from qsup.vitals.verdict import Condition
from qsup.vitals.watch import Watch
from tests.functional.sectors import Watched, assemble, sector_options

SETTINGS = {
    "by default": Hang(),
    "10 s": Hang(qemu_timeout=Duration(10), guest_timeout=Duration(10)),
    "3 s": Hang(qemu_timeout=Duration(3), guest_timeout=Duration(3)),
}
"""Each guest is watched with each at the same time: short timeouts see in minutes what others see in hours."""
PAUSED = ("-machine", "q35", "-accel", "tcg", "-m", "16", "-S")
IMAGES = Path(__file__).parents[2] / "configs/images"
BURN = "while True: pass"
SCRIBBLE = """
import os
with open("{path}", "wb") as file:
    while True:
        file.seek(0)
        file.write(os.urandom(1 << 20))
        os.fsync(file)
"""


@dataclass
class Tally:
    """What one watch has told."""

    guest: str
    setting: str
    hang: Hang
    course: Course = field(default_factory=Course)
    samples: int = 0
    lag: float = 0.0
    latency: float = 0.0
    alarms: list[str] = field(default_factory=list)
    condition: Condition = Condition.WELL
    changed: float = 0.0

    def report(self, sample: Sample) -> None:
        self.samples += 1
        self.lag, self.latency = max(self.lag, sample.lag), max(self.latency, sample.latency or 0.0)
        self.course = self.course.after(sample, self.hang)
        verdict = self.course.verdict(self.hang)
        if verdict.condition is not self.condition:
            self.condition, self.changed = verdict.condition, sample.at
            if verdict.condition is not Condition.WELL:
                self.alarms.append(f"{self.guest}, {self.setting}: {verdict.condition}: {verdict.evidence}")


async def guests(binary: str, root: Path, options: list[tuple[str, tuple[str, ...]]]) -> dict[str, Watched]:
    """QEMUs, each with a name."""
    made = {}
    for number, (kind, words) in enumerate(options):
        name = f"{kind}{number}"
        made[name] = await Watched.start(binary, root / name, *words)
    return made


@contextlib.asynccontextmanager
async def watched(
    running: dict[str, Watched], settings: dict[str, Hang], booted: float | None
) -> AsyncIterator[list[Tally]]:
    """A watch for each guest and setting."""
    tallies = [Tally(name, setting, hang) for name in running for setting, hang in settings.items()]
    tasks = []
    for tally in tallies:
        running[tally.guest].booted = booted
        watch = Watch(running[tally.guest], tally.hang, tally.report)
        tasks.append(asyncio.create_task(watch.run()))
    try:
        yield tallies
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def cost(binary: str, root: Path, count: int, minutes: float) -> None:
    """The CPU time of watching guests that rest."""
    image = assemble(root, "idle")
    kinds = {"paused": PAUSED, "idle": tuple(sector_options(image, "tcg"))}
    for kind, words in kinds.items():
        running = await guests(binary, root, [(kind, words)] * count)
        try:
            async with watched(running, {"by default": Hang()}, None) as tallies:
                await asyncio.sleep(Hang().qemu_timeout / 10)
                before, samples, began = (
                    time.process_time(),
                    sum(each.samples for each in tallies),
                    clock.now(),
                )
                await asyncio.sleep(minutes * 60)
                used = time.process_time() - before
                taken = sum(each.samples for each in tallies) - samples
                print(
                    f"{count} {kind} guests: {used / (clock.now() - began):.2%} of a CPU, "
                    f"{used / taken * 1e6:.0f} µs a sample; alarms: {sum(len(each.alarms) for each in tallies)}"
                )
        finally:
            for each in running.values():
                await each.end()


@contextlib.contextmanager
def load(root: Path) -> Iterator[None]:
    """Keep all CPUs and the disk busy."""
    scripts = [*[BURN] * (os.cpu_count() or 1), SCRIBBLE.format(path=root / "scribble")]
    processes = [subprocess.Popen([sys.executable, "-c", script]) for script in scripts]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def mixture(root: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Guests that are well, each in another way."""
    accels = ["tcg", *([] if kvm_trouble() else ["kvm"])]
    found: list[tuple[str, tuple[str, ...]]] = [("paused", PAUSED)] * 4
    for name, times in (("idle", 5), ("busy", 1)):
        image = assemble(root, name)
        found += [(f"{name}-{accel}-", tuple(sector_options(image, accel))) for accel in accels] * times
    if (IMAGES / "linux.vmlinuz").exists():
        kernel = ("-kernel", str(IMAGES / "linux.vmlinuz"), "-initrd", str(IMAGES / "linux.initrd"))
        words = ("-machine", "q35", "-accel", "tcg", "-m", "256", *kernel, "-append", "console=ttyS0 quiet")
        found += [("linux-", words), ("linux-smp-", (*words, "-smp", "2"))] * 2
    return found


async def alarms(binary: str, root: Path, minutes: float) -> None:
    """What is told of guests on a host that is busy."""
    running = await guests(binary, root, mixture(root))
    booted = clock.now()
    try:
        with load(root):
            async with watched(running, SETTINGS, booted) as tallies:
                await asyncio.sleep(minutes * 60)
                for setting in SETTINGS:
                    _tell(setting, [tally for tally in tallies if tally.setting == setting])
                await _stop(running, tallies)
    finally:
        for each in running.values():
            await each.end()


def _tell(setting: str, tallies: list[Tally]) -> None:
    found = [alarm for tally in tallies for alarm in tally.alarms]
    print(
        f"{setting}: {len(found)} alarms over {len(tallies)} guests, {sum(each.samples for each in tallies)} samples; "
        f"at worst {max(each.lag for each in tallies):.2f} s late, "
        f"answered in {max(each.latency for each in tallies):.2f} s"
    )
    for alarm in found:
        print(f"  {alarm}")


async def _stop(running: dict[str, Watched], tallies: list[Tally]) -> None:
    """Stop a QEMU, and see when that is told."""
    name = next(iter(running))
    running[name].process.send_signal(signal.SIGSTOP)
    stopped = clock.now()
    mine = [tally for tally in tallies if tally.guest == name]
    async with asyncio.timeout(90):
        while any(tally.condition is not Condition.QEMU_STOPPED for tally in mine):
            await asyncio.sleep(0.01)
    for tally in mine:
        took, wanted = tally.changed - stopped, float(tally.hang.qemu_timeout)
        print(
            f"a stop with a timeout of {tally.hang.qemu_timeout}: told after {took:.2f} s ({took / wanted - 1:+.1%})"
        )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.vitals", description=__doc__)
    parser.add_argument("part", choices=["cost", "alarms"])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--guests", type=int, default=50, help="for cost")
    options = parser.parse_args()
    binary = shutil.which("qemu-system-x86_64")
    if binary is None:
        sys.exit("qemu-system-x86_64 is not installed; scripts/setup installs it")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        if options.part == "cost":
            asyncio.run(cost(binary, root, options.guests, options.minutes))
        else:
            asyncio.run(alarms(binary, root, options.minutes))


if __name__ == "__main__":
    main()

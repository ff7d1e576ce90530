"""The storm itself: step after step, a few deeds at once, and then everything has to be right again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos import fleet, observe, points
from tests.chaos.account import View, is_at_rest
from tests.chaos.deeds import DEEDS
from tests.chaos.judge import judged, told_ends
from tests.chaos.leaks import Leaks
from tests.chaos.stage import Stage, descendants
from tests.chaos.world import World
from tests.fakes import fake_qemu

AT_ONCE: Final = (1, 1, 1, 2, 2, 3, 4)
CALM: Final = 60.0
"""Seconds until all is at rest again, at most."""
LOOK: Final = 0.5
"""Seconds after which it is looked again though nothing was told."""
LOOKS: Final = 5
"""How often it is looked at the beginning, to learn what is open and done at rest."""
JOURNAL: Final = 60
"""Lines that are told of what was done last."""


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Outcome:
    """What a storm has come to."""

    seed: int
    steps: int
    seconds: float
    counts: Counter[str]
    struck: dict[str, int]
    """At which points daemons have died, and how often."""
    daemons: int
    left_out: list[str]

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.steps} steps in {self.seconds:.0f} s, {self.daemons} daemons",
            f"deeds: {', '.join(f'{count} {what}' for what, count in self.counts.most_common())}",
            f"daemons that died at a point: {sum(self.struck.values())}, at {len(self.struck)} of {len(points.POINTS)}",
            *(f"left out: {why}" for why in self.left_out),
        ]
        return "\n".join(lines)


class Storm:
    """``run`` one of a seed; the same seed draws the same deeds. With an even one a spawner starts all processes."""

    def __init__(self, root: Path, qemu: str, seed: int, names: tuple[str, ...] = ()) -> None:
        guests, self._left_out = fleet.fleet(names)
        self.seed = seed
        self._stage = Stage(root, qemu, guests, has_spawner=seed % 2 == 0)
        self._world = World(self._stage)
        self._leaks = Leaks(self._stage)
        self._heard = 0

    async def run(self, *, steps: int | None = None, seconds: float | None = None) -> Outcome:
        """Go on for so many steps or seconds. Raises Broken, with what was done last."""
        begun, done = time.monotonic(), 0
        async with self._stage.open():
            world = self._world
            if self._stage.room.why_not:
                self._left_out.append(f"full file systems: {self._stage.room.why_not}")
            await world.begin_daemon()
            try:
                await self._learn()
                while (steps is None or done < steps) and (
                    seconds is None or time.monotonic() - begun < seconds
                ):
                    done += 1
                    world.note(f"--- step {done}")
                    world.begin()
                    await self._step(Random(f"{self.seed}/{done}"))
                    await self._settle()
            except Exception as error:
                raise Broken(self._told(done, error)) from error
            await self._stage.leave()
        struck = {point: count for point in points.POINTS if (count := self._stage.board.deaths(point))}
        return Outcome(
            self.seed, done, time.monotonic() - begun, world.counts, struck, self._stage.lives, self._left_out
        )

    async def _learn(self) -> None:
        """See how it is when all is well."""
        for _ in range(LOOKS):
            await self._settle()
            await asyncio.sleep(LOOK)
        self._leaks.learning = False

    async def _step(self, chance: Random) -> None:
        """Deeds at once; each has dice of its own, so that no other's hurry changes what it does."""
        drawn = chance.choices([*DEEDS], [*DEEDS.values()], k=chance.choice(AT_ONCE))
        async with asyncio.TaskGroup() as deeds:
            for deed in drawn:
                deeds.create_task(deed(self._world, Random(chance.random())))

    async def _settle(self) -> None:
        """Undo what would last, wait until all is at rest, and look whether it is as it should be."""
        world, stage = self._world, self._stage
        stage.board.disarm()
        for place in world.full:
            stage.room.free(place)
        for name in world.guests(is_fake=True):
            fake_qemu.set_modes(stage.places["fakes"] / name / "qemu", "")
        await stage.have_spawner()
        await self._have_daemon()
        if any(account.file != "good" for account in world.accounts.values()):
            for name, account in world.accounts.items():
                if account.file != "good":
                    stage.write(name, account.guest.text(stage.places, account.edition))
                    account.file = "good"
            await stage.run("reload-config")
        until = time.monotonic() + CALM
        while trouble := await self._looked():
            if time.monotonic() > until:
                raise Broken("\n".join(trouble))
            await stage.something(LOOK)
        for name, view in (await stage.views()).items():
            world.accounts[name].rest(view)
        self._heard = 0
        stage.events.clear()
        if stage.spawner_socket is not None and "Traceback" in stage.spawner_log.read_text(errors="replace"):
            raise Broken(f"the spawner has fallen:\n{stage.spawner_log.read_text(errors='replace')}")
        log = "".join(stage.life.log)
        # A traceback of the daemon's begins a line; what a QEMU says is told within one.
        for word in (
            "\nTraceback",
            "a bug in qsup",
            "ResourceWarning",
            "was never awaited",
            "never retrieved",
        ):
            if word in log:
                raise Broken(f"the daemon's log has {word!r}")
        if world.trouble:
            raise Broken("\n".join(world.trouble))

    async def _have_daemon(self) -> None:
        """Have one that will live on: no point is armed any more, but the last one may die of one in this moment."""
        stage = self._stage
        with contextlib.suppress(Exception):
            await stage.run("query-version")
            return
        status = await stage.gone()
        if status not in (0, -signal.SIGKILL):
            raise Broken(f"the daemon ended by itself with status {status}")
        await self._world.begin_daemon()

    async def _looked(self) -> list[str]:
        """What is wrong, or not at rest yet."""
        world, stage = self._world, self._stage
        views = await stage.views()
        restless = [
            f"{name} is {view['phase']}: {view['reason']}"
            for name, view in views.items()
            if not is_at_rest(view)
        ]
        if restless:
            return restless
        before: dict[str, View | None] = {name: account.view for name, account in world.accounts.items()}
        ends = told_ends(list(stage.events), before, views)
        qemus = observe.qemus(descendants(stage.nursery), stage.state)
        wrong = [
            f"{name}: {sentence}"
            for name, account in world.accounts.items()
            for sentence in judged(
                account, views.get(name), ends.get(name, []), qemus.get(name, []), unwatched=world.unwatched
            )
        ]
        return wrong or await self._leaks.found(views, clients=1)

    def _told(self, step: int, error: Exception) -> str:
        reasons = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        return "\n".join(
            [
                *(f"{type(reason).__name__}: {reason}" for reason in reasons),
                f"seed {self.seed}, step {step}; what was done:",
                *self._world.journal[-JOURNAL:],
                "the daemon's last words:",
                *(line.rstrip() for line in self._stage.life.log[-JOURNAL:]),
                *self._about(
                    {
                        name
                        for name in self._stage.guests
                        if f"{name}: " in f"{error}" or f"{name} is" in f"{error}"
                    }
                ),
            ]
        )

    def _about(self, names: set[str]) -> list[str]:
        """What all daemons have said lately of some guests."""
        lines = [line.rstrip() for line in self._stage.log if any(f" {name}: " in line for name in names)]
        return ["what they have said of it:", *lines[-JOURNAL:]] if names else []

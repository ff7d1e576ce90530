"""What is done to a host in a storm, each with what it may lead to: the generator draws from these."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos import points
from tests.chaos.account import Account, Verdict
from tests.chaos.world import World
from tests.fakes import fake_qemu

BY_SIGNAL: Final = {
    signal.SIGKILL: Verdict("qemu-signal", "signal 9 (SIGKILL)", "SIGKILL"),
    signal.SIGSEGV: Verdict("qemu-signal", "signal 11 (SIGSEGV)", "SIGSEGV"),
    signal.SIGTERM: Verdict("qemu-signal", None, "15 from pid"),
    signal.SIGABRT: Verdict("qemu-abort", "signal 6 (SIGABRT)"),
}
BY_KEY: Final = {
    "p": (Verdict("guest-shutdown"),),
    "c": (Verdict("guest-panic"),),
    "r": (Verdict("guest-reset"),),
    "t": (Verdict("triple-fault"), Verdict("guest-reset")),
}
OF_A_FAKE: Final = tuple(
    Verdict(cause)
    for cause in (
        "start-failed",
        "start-timeout",
        "qemu-exit",
        "qemu-hung",
        "qmp-lost",
        "qemu-signal",
        "operator",
    )
)
"""What a QEMU that misbehaves may lead to."""
FAKE_MODES: Final = (
    *("hang", "garbage", "flood-events", "flood-stderr", "exit=3", "exit-greeted=4", "silent", "mute"),
    *("status=nonsense", "refuse=cont", "ignore-sigterm", "ignore-quit", "", "", ""),
)
VERBS: Final = ("start", "start", "restart", "stop", "kill", "pause", "resume", "reset")
RECORDS: Final = ("state.json", "launch.json", "machine.json")
GARBAGE: Final = (
    b"",
    b"{",
    b"null",
    b"\xff\xfe\x00",
    b'{"version": 999}',
    b"[" * 100_000,
    b'{"version": 1, "state": 7}',
)
FLOOD: Final = (b"\xff" * 4096, b"[" * 4096, b'{"execute": "query-guest"}\n' * 200, b'{"execute": 3}\n{}\n')

Deed = Callable[[World, Random], Coroutine[Any, Any, None]]


async def signals(world: World, chance: Random) -> None:
    """End a QEMU by a signal."""
    name, number = world.some_guest(chance), chance.choice([*BY_SIGNAL, signal.SIGKILL])
    await _strike(world, name, number)


async def _strike(world: World, name: str, number: signal.Signals) -> None:
    pid = world.qemu(name)
    if pid is None:
        return
    account = world.accounts[name]
    world.note(f"{name}: {number.name} to {pid}", number.name)
    # A QEMU that gets SIGTERM while it begins, or just before another signal, ends in its own way.
    may = (
        {BY_SIGNAL[number], Verdict("start-failed")} if number is not signal.SIGKILL else {BY_SIGNAL[number]}
    )
    account.done(*may, *(OF_A_FAKE if account.guest.is_fake else ()))
    if await world.strike(pid, number, wait=2.0):
        account.must += pid == account.pid


async def stops(world: World, chance: Random) -> None:
    """Stop a QEMU by a signal: for good if its file has that mended, for a moment else."""
    name = world.some_guest(chance)
    pid, account = world.qemu(name), world.accounts[name]
    if pid is None:
        return
    world.note(f"{name}: SIGSTOP to {pid}", "SIGSTOP")
    if account.guest.hangs or account.guest.is_fake:
        account.done(Verdict("qemu-stopped"), Verdict("qemu-hung"), Verdict("start-timeout"))
        await world.strike(pid, signal.SIGSTOP, wait=0)
        return
    account.deeds += 1
    await world.strike(pid, signal.SIGSTOP, wait=0.3)
    await world.strike(pid, signal.SIGCONT, wait=0)


async def types(world: World, chance: Random) -> None:
    """Have a guest end, reset or write."""
    name, key = world.some_guest(chance, has_keys=True), chance.choice("pppccrrttww")
    world.note(f"{name}: types {key}", f"key {key}")
    if key == "w":
        await world.type(name, key)
        return
    account = world.accounts[name]
    account.typed(*BY_KEY[key])
    await world.type(name, key)


async def floods(world: World, chance: Random) -> None:
    """Have a guest print without end for a moment."""
    name = world.some_guest(chance, has_keys=True)
    world.note(f"{name}: floods its console", "console flood")
    if await world.type(name, "f"):
        await asyncio.sleep(0.3)
        await world.type(name, "\r")


async def commands(world: World, chance: Random) -> None:
    """An operator's command, waited for or not."""
    name, verb = world.some_guest(chance), chance.choice(VERBS)
    wait = chance.random() < 0.4
    account = world.accounts[name]
    world.note(f"{name}: qsup {verb}{' --wait' if wait else ''}", f"qsup {verb}")
    taken, answer = await world.ask(f"guest-{verb}", name=name, wait=wait)
    if taken is False and wait and verb in ("start", "restart", "stop", "kill"):
        # It was accepted, and something else came about.
        taken = None
    account.ordered(verb, taken)
    if taken is False:
        world.note(f"{name}: {verb} was refused: {answer}")


async def kills_helper(world: World, chance: Random) -> None:
    """Kill a process that a guest needs."""
    name = world.some_guest(chance, helper=True)
    account = world.accounts[name]
    helpers = (account.view or {}).get("helpers", {})
    for helper, pid in helpers.items():
        world.note(f"{name}: SIGKILL to its {helper} {pid}", "helper killed")
        # QEMU without its TPM may fail by itself while it is shut down.
        account.done(Verdict("helper-died"), Verdict("qemu-exit"))
        if await world.strike(pid, signal.SIGKILL, wait=2.0):
            account.must += account.guest.needs_helper


async def kills_daemon(world: World, chance: Random) -> None:
    """kill -9 the daemon, and perhaps a QEMU while it is away."""
    name = world.some_guest(chance) if chance.random() < 0.5 else None
    number = chance.choice([*BY_SIGNAL])
    async with world.without_daemon(politely=False):
        world.note("daemon: SIGKILL", "daemon killed")
        if name is not None:
            await _strike(world, name, number)


async def restarts_daemon(world: World, chance: Random) -> None:
    """systemctl restart."""
    async with world.without_daemon(politely=True):
        world.note("daemon: SIGTERM", "daemon left")


async def kills_spawner(world: World, chance: Random) -> None:
    """kill -9 what starts the daemon's processes, if it is not the daemon itself; the next one is there soon."""
    if world.stage.spawner_socket is None:
        return
    name = world.some_guest(chance) if chance.random() < 0.5 else None
    world.note("spawner: SIGKILL", "spawner killed")
    world.nothing_starts()
    await world.strike(world.stage.spawner, signal.SIGKILL, wait=2.0)
    if name is not None:
        await _strike(world, name, chance.choice([*BY_SIGNAL]))
    await world.stage.have_spawner()


async def arms(world: World, chance: Random) -> None:
    """Have the daemon die at one of its points, among those that have been struck the least."""
    # There are points that the spawner passes, and then it is that which dies.
    world.nothing_starts()
    board = world.stage.board
    fewest = sorted(points.POINTS, key=lambda point: (board.deaths(point), chance.random()))[:8]
    passed = [point for point in fewest if board.passes(point)] or fewest
    point = chance.choice(passed)
    world.note(f"daemon: dies at {point}", "point armed")
    board.arm(point, chance.choice((1, 1, 2, 3)))
    world.unwatched = True
    match point.partition(".")[0].partition(":")[0]:
        case "daemon" | "restore" | "probe" | "history":
            await restarts_daemon(world, chance)
        case "reload":
            await edits(world, chance)
        case "helper":
            await kills_helper(world, chance)
        case "end" | "bundle":
            await signals(world, chance)
        case _:
            await commands(world, chance)


async def edits(world: World, chance: Random) -> None:
    """Change a guest's file."""
    if account := _filed(world, chance):
        account.edition += 1
        text = account.guest.text(world.stage.places, account.edition)
        world.stage.write(account.guest.name, text)
        await _reloads(world, account, "edited")


async def breaks_file(world: World, chance: Random) -> None:
    """Make a guest's file one that cannot be read, until the end of the step."""
    if account := _filed(world, chance):
        account.file = "broken"
        world.stage.write(account.guest.name, "autostart = 3\n[machine\n")
        await _reloads(world, account, "broken")


async def deletes_file(world: World, chance: Random) -> None:
    """Take a guest's file away, until the end of the step."""
    if account := _filed(world, chance):
        account.file = "gone"
        # It is forgotten if it does not run; what is known of it begins anew then.
        account.forgetful = True
        world.stage.file(account.guest.name).unlink()
        await _reloads(world, account, "deleted")


def _filed(world: World, chance: Random) -> Account | None:
    """Some guest, if its file is as it should be."""
    account = world.accounts[world.some_guest(chance)]
    return account if account.file == "good" else None


async def _reloads(world: World, account: Account, what: str) -> None:
    """Have the daemon read a file that was changed."""
    account.deeds += 1
    world.note(f"{account.guest.name}: its file is {what}", f"file {what}")
    await world.ask("reload-config")


async def breaks_record(world: World, chance: Random) -> None:
    """Damage what is written down of a guest, while there is no daemon."""
    name, record = world.some_guest(chance), chance.choice(RECORDS)
    garbage = chance.choice(GARBAGE)
    account = world.accounts[name]
    async with world.without_daemon(politely=chance.random() < 0.5):
        directory = world.stage.runtime if record == "launch.json" else world.stage.state
        path: Path = directory / "guests" / name / record
        if path.exists():
            world.note(f"{name}: its {record} is broken: {garbage[:20]!r}", "record broken")
            # Where there is no room an empty file is left, which is as good.
            with contextlib.suppress(OSError):
                path.write_bytes(garbage)
            account.forgetful = True
            account.wanted |= {"running", "stopped"}
            account.paused = {True, False}
            account.may += [Verdict("start-failed"), Verdict("operator")]
            account.deeds += 1


async def fills(world: World, chance: Random) -> None:
    """Leave no byte free where the daemon or the guests write, until the end of the step; somebody does something."""
    place = chance.choice(("run", "state", "disks"))
    if world.stage.room.why_not:
        return
    world.note(f"{place} is full", f"{place} full")
    world.stage.room.fill(place)
    world.full.add(place)
    if place == "disks":
        for name in world.guests(has_keys=True):
            world.accounts[name].paused.add(True)
    else:
        for account in world.accounts.values():
            account.unwritten()
            account.may.append(Verdict("start-failed"))
    await chance.choice((signals, commands, types))(world, chance)


async def misbehaves(world: World, chance: Random) -> None:
    """Have a QEMU that is none do what a real one never would."""
    name = world.some_guest(chance, is_fake=True)
    mode = chance.choice(FAKE_MODES)
    account = world.accounts[name]
    world.note(f"{name}: restarted as {mode or 'well-behaved'}", "fake restarted")
    fake_qemu.set_modes(world.stage.places["fakes"] / name / "qemu", mode)
    account.done(*OF_A_FAKE)
    account.paused |= {True, False}
    taken, _ = await world.ask("guest-restart", name=name, wait=False)
    account.ordered("restart", taken)


async def pesters(world: World, chance: Random) -> None:
    """Clients that send rubbish, or too much, or go in the middle."""
    world.note("clients send rubbish", "hostile clients")
    for _ in range(chance.randrange(1, 20)):
        rubbish = chance.choice(FLOOD)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(world.stage.runtime / "control.sock"))
            client.send(rubbish)
        await asyncio.sleep(0)


async def touches_sockets(world: World, chance: Random) -> None:
    """Take away the files of a guest's run directory that only a lookup needs, as a zealous cleaner does."""
    name = world.some_guest(chance)
    for run_dir in (world.stage.runtime / "guests" / name).glob("*/"):
        for file in run_dir.glob("*.log"):
            world.note(f"{name}: {file.name} is emptied", "log emptied")
            os.truncate(file, 0)


DEEDS: Final[dict[Deed, int]] = {
    signals: 16,
    stops: 5,
    types: 12,
    floods: 3,
    commands: 18,
    kills_helper: 4,
    kills_daemon: 8,
    restarts_daemon: 3,
    kills_spawner: 3,
    arms: 20,
    edits: 4,
    breaks_file: 2,
    deletes_file: 3,
    breaks_record: 4,
    fills: 4,
    misbehaves: 6,
    pesters: 3,
    touches_sockets: 1,
}
"""How often each is drawn."""

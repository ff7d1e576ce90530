"""From a spec to a process that listens: everything that happens once per launch and touches the host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
from typing import TYPE_CHECKING, Final

import msgspec

from qsup import endpoint
from qsup.argv.build import build
from qsup.argv.invocation import LOCK_FD, MADE, QEMU_LOG, QMP_FILE, LaunchContext
from qsup.errors import LaunchError, RecordError
from qsup.events import Kind
from qsup.firmware import with_firmware
from qsup.guest import record
from qsup.guest.helpers import Helpers, reclaim
from qsup.guest.kept import Kept
from qsup.guest.pin import pinned
from qsup.guest.placing import Placing
from qsup.guest.prepare import prepare
from qsup.guest.running import STDERR, Running
from qsup.preflight.obstacle import Plan
from qsup.preflight.opened import emptied, opened
from qsup.preflight.preflight import preflight
from qsup.proc import lock
from qsup.proc.account import confined
from qsup.proc.follow import Speaker
from qsup.proc.helper import make_home
from qsup.proc.identity import find_holder, identify
from qsup.proc.process import Process
from qsup.proc.tap import open_tap
from qsup.spawn.order import Memory
from qsup.spec import codec
from qsup.spec.numbers import numbers

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from qsup.argv.facts import HostFacts
    from qsup.argv.invocation import Invocation
    from qsup.guest.host import Host
    from qsup.proc.identity import Identity
    from qsup.spec.model import GuestSpec

log = logging.getLogger(__name__)

LOCK_PATIENCE: Final = 2.0
"""Seconds for a process that was just being forked as its daemon died to show itself."""


def invocation(spec: GuestSpec, host: Host, token: str) -> Invocation:
    """What would be executed. Raises LaunchError or SpecError saying why nothing can be."""
    return _built(spec, host, token, _facts(spec, host))


def _facts(spec: GuestSpec, host: Host) -> HostFacts:
    return with_firmware(host.facts(spec), spec)


def _built(spec: GuestSpec, host: Host, token: str, facts: HostFacts) -> Invocation:
    return build(
        spec,
        facts,
        LaunchContext(
            token=token,
            run_dir=str(host.run_dir(spec.name, token)),
            state_dir=str(host.paths.guest_state(spec.name)),
            machine=pinned(spec, facts, _kept_machine(spec.name, host)),
            notify_port=host.notify_port,
        ),
    )


def _kept_machine(name: str, host: Host) -> record.MachineRecord | None:
    try:
        return record.read_machine(host.machine_file(name))
    except RecordError as error:
        log.warning("%s: %s; what its machine type means is decided anew", name, error)
        return None


def _keep_machine(spec: GuestSpec, machine: str, host: Host) -> str | None:
    """Write down what the file's type has come to, before it is started for the first time; or forget it.

    If that cannot be written, return a sentence: the guest is more important, and its next start tries again.
    """
    path = host.machine_file(spec.name)
    try:
        if machine == spec.machine.type:
            path.unlink(missing_ok=True)
            return None
        wanted = record.MachineRecord(alias=spec.machine.type, machine=machine)
        if _kept_machine(spec.name, host) != wanted:
            record.write(path, wanted)
    except OSError as error:
        return (
            f"it starts as {machine}, but that this is its machine type for good cannot be written: {error}"
        )
    return None


def _checked(spec: GuestSpec, host: Host, token: str) -> tuple[Plan, list[str]]:
    """What to execute, and what the operator should know about it. Raises LaunchError with all that is in the way."""
    facts = _facts(spec, host)
    made = _built(spec, host, token, facts)
    plan = Plan(spec, facts, made, ground=host.scopes.ground(), account=host.users.of(spec))
    obstacles = preflight(plan)
    if fatal := [str(obstacle) for obstacle in obstacles if obstacle.fatal]:
        raise LaunchError("; ".join(fatal))
    return plan, [str(obstacle) for obstacle in obstacles]


async def _command(plan: Plan, run_dir: Path, host: Host) -> list[str]:
    """The words to execute; if QEMU is to be another user, or to see less, what it opens is looked up and given."""
    if plan.account is None and not plan.spec.qemu.private_mounts:
        return plan.made.argv
    return await asyncio.to_thread(_confine, plan, run_dir, host)


def _confine(plan: Plan, run_dir: Path, host: Host) -> list[str]:
    files = list(opened(plan, run_dir))
    if plan.account is not None:
        host.grants.give(plan.spec.name, plan.account, files)
    empty = emptied([file.path for file in files], plan.spec) if plan.spec.qemu.private_mounts else ()
    return confined(plan.made.argv, plan.account, empty)


async def launch(spec: GuestSpec, host: Host) -> tuple[Running, socket.socket]:
    """Start QEMU, stopped before its first instruction; return it and a socket connected to its QMP.

    Raises LaunchError; whatever was made until then is removed again.
    """
    token = secrets.token_hex(8)
    plan, told = await asyncio.to_thread(_checked, spec, host, token)
    made = plan.made
    run_dir = host.run_dir(spec.name, token)
    helpers = Helpers(spec.name, run_dir, token, host.keeper)
    async with contextlib.AsyncExitStack() as undo:
        with contextlib.ExitStack() as ours:
            try:
                (run_dir / MADE).mkdir(mode=0o700, parents=True)
                undo.callback(shutil.rmtree, run_dir, ignore_errors=True)
                host.paths.guest_state(spec.name).mkdir(mode=0o700, parents=True, exist_ok=True)
                kept = await asyncio.to_thread(_keep_machine, spec, made.machine, host)
                for note in (*made.notes, *told, *([kept] if kept else [])):
                    host.bus.publish(Kind.NOTICE, name=spec.name, message=note)
                await prepare(made.files, made.binary)
                fds = _open_fds(made, run_dir, host.lock_file(spec.name), ours)
                undo.callback(host.grants.take_back, spec.name)
                for tap in made.taps:
                    fds |= await open_tap(tap, ours)
                for helper in made.helpers:
                    make_home(helper, plan.account)
                words = await _command(plan, run_dir, host)
                qmp = await endpoint.connect(run_dir, QMP_FILE)
                undo.callback(qmp.close)
                written = record.LaunchRecord(
                    boot_id=host.boot_id,
                    token=token,
                    accel=made.accel,
                    machine=made.machine,
                    argv=tuple(map(str, made.argv)),
                    spec=msgspec.Raw(codec.encode(spec)),
                    commands=made.commands,
                    helpers=tuple(record.HelperRecord(helper=helper) for helper in made.helpers),
                )
                record.write(host.launch_file(spec.name), written)
                if made.helpers:
                    undo.push_async_callback(reclaim, (), run_dir, search=host.paths.guest_runtime(spec.name))
                    undo.push_async_callback(helpers.end)
                    fds |= await helpers.start(made.helpers, ours, plan.account)
                    written = msgspec.structs.replace(written, helpers=tuple(helpers.records.values()))
                    record.write(host.launch_file(spec.name), written)
                undo.push_async_callback(_end_unseen, host.lock_file(spec.name), token)
                memory = Memory(spec.limits.numa_policy, _numa_mask(spec))
                process = Process.spawn(words, fds, token, made.environment, memory)
                undo.pop_all()
            except OSError as error:
                raise LaunchError(f"cannot prepare the launch: {error}") from error
    written = identified(host, spec.name, written, process.identity)
    placing = Placing(spec, host.scopes, process, helpers.processes)
    running = Running(process, written, spec, run_dir, helpers, placing, Kept(host.store, token))
    return watched(running, host, anew=True), qmp


async def _end_unseen(lock_file: Path, token: str) -> None:
    """End a QEMU of this launch whose spawner has not lived to tell of it: it would hold the lock for good."""
    pid, of = await lock_holder(lock_file) or (0, "")
    with contextlib.suppress(OSError):
        if of == token and (process := Process.adopt(identify(pid, token))) is not None:
            process.signal(signal.SIGKILL)
            await process.wait()
            process.close()


async def lock_holder(lock_file: Path) -> tuple[int, str] | None:
    """Pid and token of the QEMU that holds a guest's lock; None if nobody does, or only who is no QEMU."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOCK_PATIENCE):
            while lock.is_held(lock_file):
                holder = find_holder(lock_file)
                if holder is not None:
                    return holder
                # Between fork and exec a process cannot be recognised; that lasts for a few milliseconds.
                await asyncio.sleep(0.01)
    return None


def _numa_mask(spec: GuestSpec) -> frozenset[int]:
    return numbers(spec.limits.numa_mask) if spec.limits.numa_mask is not None else frozenset()


def identified(
    host: Host, name: str, written: record.LaunchRecord, identity: Identity
) -> record.LaunchRecord:
    """Complete the record by the process. Without that the next daemon still finds it, by its lock and its token."""
    complete = msgspec.structs.replace(written, identity=identity)
    try:
        record.write(host.launch_file(name), complete)
    except OSError as error:
        log.warning("%s: the record of its pid %d cannot be written: %s, ignoring", name, identity.pid, error)
    return complete


def watched(running: Running, host: Host, *, anew: bool) -> Running:
    """Keep small what this QEMU writes, and hear what it says; ``anew``: it has just been started."""
    speaker = Speaker(running.spec.name, running.process.pid)
    host.keeper.watch(running.run_dir / STDERR, speaker, anew=anew)
    host.keeper.watch(running.run_dir / QEMU_LOG)
    return running


def _open_fds(made: Invocation, run_dir: Path, lock_file: Path, ours: contextlib.ExitStack) -> dict[int, int]:
    """Everything that QEMU inherits, by its number there; our own copies are closed with ``ours``."""

    def own(fd: int) -> int:
        ours.callback(os.close, fd)
        return fd

    fds = {LOCK_FD: own(lock.acquire(lock_file))}
    fds[0] = own(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    fds[1] = fds[2] = own(os.open(run_dir / STDERR, flags, 0o600))
    # Under TCG QEMU opens its log itself, and writes it from its first reset on: it must be there to be watched.
    (run_dir / QEMU_LOG).touch(mode=0o600)
    for device in made.devices:
        fds[device.fd] = own(os.open(device.path, os.O_RDWR | os.O_CLOEXEC))
    for listener in made.listeners:
        fds[listener.fd] = ours.enter_context(endpoint.listen(run_dir, listener.file)).fileno()
    return fds


def forget_older(host: Host, name: str, token: str) -> None:
    """Let go of earlier launches, but for the run directory of the last, whose stderr may still be wanted."""
    with contextlib.suppress(OSError):
        older = [
            entry
            for entry in host.paths.guest_runtime(name).iterdir()
            if entry.is_dir() and entry.name != token
        ]
        for entry in older:
            Kept(host.store, entry.name).forget()
        for entry in sorted(older, key=lambda path: path.stat().st_mtime)[:-1]:
            shutil.rmtree(entry, ignore_errors=True)


def discard(host: Host, name: str) -> None:
    """Remove all runtime files of a guest that is gone from the configuration and stopped, and let go of its user."""
    host.users.forget(name)
    forget_older(host, name, "")
    shutil.rmtree(host.paths.guest_runtime(name), ignore_errors=True)


def write_scope(host: Host, running: Running) -> None:
    """Write down where the processes are now, and how they are limited."""
    placing = running.placing
    edited = placing.limits != running.spec.limits
    limits = msgspec.Raw(codec.encode_limits(placing.limits)) if edited else record.NOTHING
    running.record = msgspec.structs.replace(running.record, scope=placing.scope, limits=limits)
    try:
        record.write(host.launch_file(running.spec.name), running.record)
    except OSError as error:
        log.warning("%s: the record of its scope cannot be written: %s, ignoring", running.spec.name, error)


def write_helpers(host: Host, running: Running) -> None:
    """Write down who the helpers are now. Raises OSError."""
    helpers = tuple(running.helpers.records.values())
    running.record = msgspec.structs.replace(running.record, helpers=helpers)
    record.write(host.launch_file(running.spec.name), running.record)

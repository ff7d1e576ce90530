"""A guest's process that an earlier daemon has left: found by its record, or by its lock where none tells of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from qsup.errors import QsupError, RecordError
from qsup.guest import record
from qsup.guest.helpers import Helpers, reclaim
from qsup.guest.kept import Kept
from qsup.guest.launch import identified, invocation, lock_holder, watched
from qsup.guest.placing import Placing
from qsup.guest.running import Running
from qsup.proc.identity import command_line, identify, is_of_another
from qsup.proc.process import Process
from qsup.spec import codec

if TYPE_CHECKING:
    from qsup.guest.host import Host
    from qsup.proc.identity import Identity
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.limits import Limits


async def adopt(spec: GuestSpec, host: Host) -> tuple[Running | None, str | None]:
    """The guest's last process in this boot, alive or not; what was wrong with the record of it."""
    trouble = None
    try:
        written = record.read_launch(host.launch_file(spec.name))
    except RecordError as error:
        written, trouble = None, str(error)
    if written is not None and written.identity is not None:
        if is_of_another(written.identity.pid, host.lock_file(spec.name)):
            return (
                None,
                f"pid {written.identity.pid} of its record is a QEMU of other directories; it is not touched",
            )
        process = _take(written.identity, host)
    else:
        process, written = await _search(spec, host, written)
    if written is None or process is None:
        await _reclaim(spec, host, written, search=trouble is not None)
    if written is None or written.identity is None or written.boot_id != host.boot_id:
        return None, trouble
    run_dir = host.run_dir(spec.name, written.token)
    helpers = Helpers(spec.name, run_dir, written.token, host.keeper)
    launched, last = _launched_spec(written, spec), process or Process.gone(written.identity)
    placing = Placing(launched, host.scopes, last, helpers.processes, written.scope, _limits(written))
    kept = Kept(host.store, written.token)
    running = Running(last, written, launched, run_dir, helpers, placing, kept)
    if process is None:
        return running, trouble
    helpers.adopt(written.helpers, host.paths.guest_runtime(spec.name))
    return watched(running, host, anew=False), trouble


def _limits(written: record.LaunchRecord) -> Limits | None:
    """What held for the processes of a launch, if an edit had changed it."""
    with contextlib.suppress(RecordError):
        return None if written.limits == record.NOTHING else codec.decode_limits(bytes(written.limits))
    return None


def _take(identity: Identity, host: Host) -> Process | None:
    """The process of a record, by what systemd has kept of it, or else as long as the kernel knows it."""
    kept = Kept(host.store, identity.token)
    process = Process.kept(identity, kept.process())
    if process is None and (process := Process.adopt(identity)) is not None:
        kept.keep_process(process.pidfd)
    return process


async def _reclaim(spec: GuestSpec, host: Host, written: record.LaunchRecord | None, *, search: bool) -> None:
    """End what is left of the helpers of a QEMU that is gone."""
    kept = () if written is None or written.boot_id != host.boot_id else written.helpers
    search = search or any(one.identity is None for one in kept)
    runtime = host.paths.guest_runtime(spec.name)
    run_dir = runtime / (written.token if written is not None else "")
    await reclaim(kept, run_dir, search=runtime if search else None)


async def _search(
    spec: GuestSpec, host: Host, written: record.LaunchRecord | None
) -> tuple[Process | None, record.LaunchRecord | None]:
    """Look for a QEMU that no record tells of: the last daemon died while it launched it, or the record is torn."""
    lock_file = host.lock_file(spec.name)
    if not lock_file.exists():
        return None, written
    holder = await lock_holder(lock_file)
    return (None, written) if holder is None else _found(spec, host, *holder)


def _found(
    spec: GuestSpec, host: Host, pid: int, token: str
) -> tuple[Process | None, record.LaunchRecord | None]:
    try:
        identity, argv = identify(pid, token), tuple(command_line(pid))
    except OSError:
        return None, None
    written = record.LaunchRecord(
        boot_id=host.boot_id,
        token=token,
        accel="unknown",
        argv=argv,
        spec=msgspec.Raw(codec.encode(spec)),
        helpers=_planned(spec, host, token),
    )
    return _take(identity, host), identified(host, spec.name, written, identity)


def _planned(spec: GuestSpec, host: Host, token: str) -> tuple[record.HelperRecord, ...]:
    """The helpers that a launch without a record has most likely; who they are is found out by their marks."""
    try:
        helpers = invocation(spec, host, token).helpers
    except QsupError:
        return ()
    return tuple(record.HelperRecord(helper=helper) for helper in helpers)


def _launched_spec(written: record.LaunchRecord, current: GuestSpec) -> GuestSpec:
    try:
        return codec.decode(bytes(written.spec))
    except RecordError:
        return current

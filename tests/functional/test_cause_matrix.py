"""The drill matrix: every cause, under either accelerator, with the daemon there or away as it happens.

Each cell is a scene on a real QEMU, or says why there is none to be played. Many scenes share one site and its daemon.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from functools import cache

import pytest

from qsup.cause import Cause
from tests.conftest import kvm_problem
from tests.functional import scenes
from tests.functional.causes import STAY
from tests.functional.matrix import Played, Scene, When, play

ACCELS = ("tcg", "kvm")
AT_ONCE = 16
"""Guests that boot at once: with more, two processors are not enough for what is told in time."""
LATE_STATUS = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)
"""Whether the kernel tells the exit status of a process to others than its parent, once that has reaped it."""


def rule(*keys: str) -> str:
    """Rules that stop the guest at these causes."""
    return f"{STAY}[restart.on]\n" + "".join(f'{key} = "stop"\n' for key in keys)


def late(cause: Cause) -> tuple[Cause, ...]:
    """What is told of an exit that is known once somebody has reaped the process."""
    return (Cause.UNKNOWN, cause) if LATE_STATUS else (Cause.UNKNOWN,)


QEMU_HANG = f'{STAY}[hang]\nqemu-timeout = "4 s"\nguest-timeout = "0 s"\nqemu-stages = []\n'
GUEST_HANG = f'{STAY}[hang]\nqemu-timeout = "0 s"\nguest-timeout = "2 s"\nguest-stages = []\n'
NEVER_READY = f'{STAY}[ready]\ncheck = "tcp"\naddress = "127.0.0.1:1"\ntimeout = "3 s"\ninterval = "200 ms"\n'
HEALTH = (
    f'{STAY}[[health]]\nname = "port"\ncheck = "tcp"\naddress = "127.0.0.1:PORT"\n'
    'interval = "1 s"\nfailures = 1\nstart-period = "0 s"\n'
)
LOOP = f"{STAY}limit = 2\n"
GONE = "the guest runs on, and nothing of it is left that the next daemon could find"

Cell = tuple[Scene, ...] | str
"""Scenes, or why there are none."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cells of one cause: with the daemon there and away; what is special under an accelerator comes first."""

    here: Cell
    away: Cell
    kvm: dict[When, Cell] | None = None
    tcg: dict[When, Cell] | None = None

    def cell(self, accel: str, when: When) -> Cell:
        """What is to be played, or why nothing is."""
        special = (self.kvm if accel == "kvm" else self.tcg) or {}
        return special.get(when, self.here if when is When.HERE else self.away)


def either(*scene: Scene) -> Row:
    """A row that is the same whether the daemon is there or not."""
    return Row(here=scene, away=scene)


C = Cause
FAULTS = Scene(act=scenes.does("t", "SHUTDOWN"), told=(C.TRIPLE_FAULT,), more=rule("triple-fault"))
FAULTS_AS_RESET = Scene(act=scenes.does("t", "SHUTDOWN"), told=(C.GUEST_RESET,), more=rule("guest-reset"))
RESETS_BY_RULE = Scene(act=scenes.does("r", "SHUTDOWN"), told=(C.GUEST_RESET,), more=rule("guest-reset"))
STARVED = Scene(
    act=scenes.cgroup_has_no_memory,
    told=(C.OUT_OF_MEMORY,),
    detail="its cgroup had reached its memory limit",
    boots=False,
    needs=scenes.no_memory_cgroup,
)
ASSERTS = Scene(
    act=scenes.asserts,
    told=(C.QEMU_ABORT,),
    detail="Assertion `mutex->initialized'",
    boots=False,
    reaped=True,
)

TABLE: dict[Cause, Row] = {
    C.OPERATOR: Row(
        here=(Scene(act=scenes.stop, told=(C.OPERATOR,), boots=False),),
        away=(
            Scene(
                before=scenes.stop,
                act=scenes.does("p", "SHUTDOWN"),
                told=(C.OPERATOR,),
                more='methods = ["acpi"]\ntimeout = "10 min"\n',
            ),
        ),
    ),
    C.HOST_SHUTDOWN: Row(
        here="init itself has to send the signal: test_a_host_that_goes_down_is_no_failure",
        away=(Scene(act=scenes.host_was_restarted, told=(C.HOST_SHUTDOWN,), boots=False, reaped=True),),
    ),
    C.GUEST_SHUTDOWN: either(
        Scene(act=scenes.does("p", "SHUTDOWN"), told=(C.GUEST_SHUTDOWN,), detail="powered itself off"),
        Scene(act=scenes.does("p", "SHUTDOWN"), told=(C.GUEST_SHUTDOWN,), more=rule("guest-reset")),
    ),
    C.GUEST_RESET: Row(
        here=(
            Scene(act=scenes.does("r", "RESET"), told=(C.GUEST_RESET,)),
            RESETS_BY_RULE,
            Scene(act=scenes.does("r", "SHUTDOWN"), told=(C.GUEST_RESET,), more=rule("triple-fault")),
        ),
        # Without a rule QEMU has reset the machine, which runs on, and nothing tells of it.
        away=(RESETS_BY_RULE,),
    ),
    C.REBOOT_LOOP: Row(
        here=(Scene(act=scenes.resets, told=(C.GUEST_RESET, C.REBOOT_LOOP), more=LOOP),),
        # A reset that nobody sees is not counted; the loop goes on, and what was counted before still is.
        away=(Scene(before=scenes.reset, after=scenes.reset, told=(C.REBOOT_LOOP,), more=LOOP),),
    ),
    C.GUEST_PANIC: either(
        Scene(act=scenes.does("c", "GUEST_PANICKED"), told=(C.GUEST_PANIC,), detail="kernel panicked")
    ),
    C.GUEST_CRASHLOADED: Row(
        here=(
            Scene(act=scenes.does("l", "RESET"), told=(C.GUEST_CRASHLOADED,), detail="crash kernel has done"),
        ),
        away=f"QEMU keeps no word of it beside the event; {GONE}",
    ),
    C.WATCHDOG: Row(
        here=(
            Scene(act=scenes.does("w", "WATCHDOG"), told=(C.WATCHDOG,), detail="did not feed"),
            Scene(act=scenes.does("w", "STOP"), told=(C.WATCHDOG,), more=rule("watchdog")),
        ),
        # Without a rule the device has reset the machine, which runs on, and nothing tells of it.
        away=(Scene(act=scenes.does("w", "STOP"), told=(C.WATCHDOG,), more=rule("watchdog")),),
    ),
    C.TRIPLE_FAULT: Row(
        here=(FAULTS, Scene(act=scenes.does("t", "RESET"), told=(C.TRIPLE_FAULT,), detail="a vCPU met")),
        away=(FAULTS,),
        # KVM tells QEMU no more than that the guest wants a reset.
        kvm={When.HERE: (FAULTS_AS_RESET,), When.AWAY: (FAULTS_AS_RESET,)},
    ),
    C.GUEST_HUNG: either(
        Scene(
            act=scenes.types("h"),
            told=(C.GUEST_HUNG,),
            detail="had interrupts on",
            more=GUEST_HANG,
            spins=True,
        )
    ),
    C.GUEST_UNHEALTHY: either(
        Scene(
            prepare=scenes.listens,
            act=scenes.stops_listening,
            told=(C.GUEST_UNHEALTHY,),
            detail="the check port failed",
            more=HEALTH,
            boots=False,
        )
    ),
    C.QEMU_EXIT: Row(
        here=(Scene(act=scenes.exits, told=(C.QEMU_EXIT,), detail="exited with status 33"),),
        away=(Scene(act=scenes.exits, told=late(C.QEMU_EXIT)),),
    ),
    C.QEMU_SIGNAL: Row(
        here=(
            Scene(act=scenes.sent(signal.SIGKILL), told=(C.QEMU_SIGNAL,), detail="SIGKILL", boots=False),
            Scene(act=scenes.sent(signal.SIGSEGV), told=(C.QEMU_SIGNAL,), detail="SIGSEGV", boots=False),
            Scene(act=scenes.sent(signal.SIGTERM), told=(C.QEMU_SIGNAL,), detail="15 from pid", boots=False),
        ),
        away=(
            Scene(act=scenes.sent(signal.SIGKILL), told=late(C.QEMU_SIGNAL), boots=False),
            Scene(act=scenes.sent(signal.SIGTERM), told=(C.QEMU_SIGNAL,), detail="15 from pid", boots=False),
            Scene(
                act=scenes.sent(signal.SIGTERM),
                told=(C.QEMU_SIGNAL,),
                detail="15 from pid",
                boots=False,
                reaped=True,
            ),
        ),
    ),
    C.QEMU_ABORT: Row(
        here=(
            ASSERTS,
            Scene(act=scenes.sent(signal.SIGABRT), told=(C.QEMU_ABORT,), detail="aborted", boots=False),
        ),
        away=(ASSERTS, Scene(act=scenes.sent(signal.SIGABRT), told=late(C.QEMU_ABORT), boots=False)),
    ),
    C.QEMU_HUNG: either(
        Scene(
            act=scenes.main_loop_blocks,
            told=(C.QEMU_HUNG,),
            detail="main loop is held up",
            more=QEMU_HANG,
            boots=False,
        )
    ),
    C.QEMU_STOPPED: either(
        Scene(
            act=scenes.is_stopped,
            told=(C.QEMU_STOPPED,),
            detail="a signal has stopped its process",
            more=QEMU_HANG,
            boots=False,
        )
    ),
    C.QMP_LOST: either(
        Scene(
            act=scenes.loses_its_monitor,
            told=(C.QMP_LOST,),
            detail="no QMP session",
            more=QEMU_HANG,
            boots=False,
        )
    ),
    C.KVM_INTERNAL_ERROR: Row(
        here=(Scene(act=scenes.does("x", "STOP"), told=(C.KVM_INTERNAL_ERROR,), detail="Suberror: 1"),),
        away=(Scene(act=scenes.does("x", "STOP"), told=(C.KVM_INTERNAL_ERROR,), detail="Suberror: 1"),),
        tcg=dict.fromkeys(When, "TCG executes whatever there is, and has no such run state"),
    ),
    C.OUT_OF_MEMORY: Row(
        here=(STARVED,),
        away=(STARVED,),
        kvm=dict.fromkeys(
            When,
            (
                Scene(
                    act=scenes.host_has_no_memory,
                    told=(C.OUT_OF_MEMORY,),
                    detail="the host had no memory left",
                    boots=False,
                    needs=scenes.no_kernel_log,
                ),
            ),
        ),
    ),
    # A disk whose errors are reported to the guest stops nothing: of those that nobody saw, nobody can tell.
    C.IO_ERROR: either(
        Scene(act=scenes.disk_fails, told=(C.IO_ERROR,), detail="the disk root", disk='werror = "stop"')
    ),
    C.NO_SPACE: either(
        Scene(
            prepare=scenes.on_small_disk,
            act=scenes.host_disk_fills,
            told=(C.NO_SPACE,),
            detail="no room for the disk root",
            needs=scenes.no_mount,
        )
    ),
    C.IMAGE_CORRUPT: either(
        Scene(
            prepare=scenes.damaged,
            act=scenes.does("d", "BLOCK_IMAGE_CORRUPTED"),
            told=(C.IMAGE_CORRUPT,),
            detail="the image of the disk root is damaged: Preventing invalid write",
            format="qcow2",
        )
    ),
    C.HELPER_DIED: either(
        Scene(
            act=scenes.tpm_dies,
            told=(C.HELPER_DIED,),
            detail="the helper tpm ended",
            more=f'{STAY}[tpm]\nenabled = true\nmodel = "tis"\n',
            boots=False,
            needs=scenes.no_tpm,
        )
    ),
    C.START_FAILED: Row(
        here=(
            Scene(told=(C.START_FAILED,), boots=False, prepare=lambda guest: guest.image.unlink()),
            Scene(told=(C.START_FAILED,), boots=False, args=', "-fw_cfg", "nonsense"'),
        ),
        away="it is the daemon that starts a guest; whether one that it left half done had run, nobody knows",
    ),
    C.START_TIMEOUT: either(
        Scene(told=(C.START_TIMEOUT,), detail="not ready within 3 s", more=NEVER_READY, boots=False)
    ),
    C.UNKNOWN: Row(
        here="the kernel tells a parent how its child has ended",
        away=(
            Scene(
                act=scenes.sent(signal.SIGKILL),
                told=(C.UNKNOWN,),
                detail="only to its parent",
                boots=False,
                reaped=True,
            ),
        ),
    ),
}

CELLS = {
    (cause, accel, when): row.cell(accel, when)
    for cause, row in TABLE.items()
    for accel in ACCELS
    for when in When
}
SCENES: dict[When, dict[str, tuple[str, Scene]]] = {when: {} for when in When}
for (cause, accel, when), cell in CELLS.items():
    if not isinstance(cell, str):
        for number, scene in enumerate(cell):
            SCENES[when][f"{cause}-{accel}-{number}"] = accel, scene


@cache
def problem(accel: str, scene: Scene) -> str | None:
    """Why a scene cannot be played here."""
    return scene.needs() or (
        f"KVM does not work here: {kvm_problem()}" if accel == "kvm" and kvm_problem() else None
    )


def played(tmp_path_factory: pytest.TempPathFactory, qemu: str, when: When) -> dict[str, Played]:
    """What was told in all scenes that can be played here, a few at once; those that burn a processor come last."""
    possible = [(name, what) for name, what in SCENES[when].items() if problem(*what) is None]
    possible.sort(key=lambda one: one[1][1].spins)
    told: dict[str, Played] = {}
    for first in range(0, len(possible), AT_ONCE):
        root = tmp_path_factory.mktemp(when.value)
        told |= asyncio.run(play(root, qemu, when, dict(possible[first : first + AT_ONCE])))
    return told


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, qemu_binary: str) -> dict[str, Played]:
    return played(tmp_path_factory, qemu_binary, When.HERE)


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory, qemu_binary: str) -> dict[str, Played]:
    return played(tmp_path_factory, qemu_binary, When.AWAY)


def test_every_cause_has_its_row() -> None:
    assert set(TABLE) == set(Cause)
    assert {cause for cause, _, _ in CELLS} == set(Cause)
    assert len(CELLS) == len(Cause) * len(ACCELS) * len(When)


@pytest.mark.parametrize("name", SCENES[When.HERE])
def test_the_cause_is_told_as_it_happens(name: str, request: pytest.FixtureRequest) -> None:
    check(name, When.HERE, request)


@pytest.mark.parametrize("name", SCENES[When.AWAY])
def test_the_cause_is_told_by_the_next_daemon(name: str, request: pytest.FixtureRequest) -> None:
    check(name, When.AWAY, request)


def check(name: str, when: When, request: pytest.FixtureRequest) -> None:
    """Compare what was told with what is to be."""
    accel, scene = SCENES[when][name]
    if (why := problem(accel, scene)) is not None:
        pytest.skip(why)
    told: Played = request.getfixturevalue(when.value)[name]
    assert told.trouble is None
    assert told.causes == [cause.value for cause in scene.told], told
    assert any(scene.detail in detail for detail in told.details), told
    assert told.bundles == told.kept, "every bundle that was announced is there"

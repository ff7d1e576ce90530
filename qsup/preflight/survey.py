"""All guests against this host at once: what stands against the start of each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from qsup.argv.build import build
from qsup.argv.facts import HostFacts
from qsup.argv.invocation import LaunchContext
from qsup.errors import LaunchError, SpecError
from qsup.firmware import with_firmware
from qsup.preflight.account import runs_as
from qsup.preflight.obstacle import Obstacle, Plan
from qsup.preflight.preflight import preflight
from qsup.probe.kvm import kvm_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from qsup.argv.invocation import Invocation
    from qsup.probe.prober import Prober
    from qsup.probe.programs import Programs
    from qsup.scope.ground import Ground
    from qsup.spec.model import GuestSpec

NO_LAUNCH: Final = LaunchContext(
    token="0" * 16, run_dir="/run/qsup/guests/NAME/0000000000000000", state_dir="/var/lib/qsup/guests/NAME"
)
"""Stands for a launch that is only thought of."""


class Told(NamedTuple):
    """An obstacle of a guest; of no guest where it is the same for many."""

    guest: str | None
    obstacle: Obstacle


def survey(
    specs: Mapping[str, GuestSpec],
    wanted: Collection[str],
    binary: Callable[[GuestSpec], str],
    prober: Prober,
    programs: Programs,
    running: Collection[str],
    ground: Ground,
    usual: str | None = None,
) -> Iterator[Told]:
    """What stands against the guests of ``wanted``; ``running`` are those that have already what they need.

    ``usual`` is whom QEMUs run as if their guests' files do not say.
    """
    broken: set[str] = set()
    for name in wanted:
        spec = specs[name]
        facts = _facts(binary(spec), prober)
        if isinstance(facts, str):
            if binary(spec) not in broken:
                # A thousand guests without QEMU have one problem, not a thousand.
                broken.add(binary(spec))
                yield Told(None, Obstacle((), facts))
            facts = HostFacts(binary(spec), kvm=kvm_trouble() is None, kvm_trouble=kvm_trouble())
        facts = programs.added(with_firmware(facts, spec), spec)
        made = _made(spec, facts)
        if isinstance(made, str):
            yield Told(name, Obstacle((), made))
            continue
        try:
            account = runs_as(spec, usual, min)
        except LaunchError as error:
            yield Told(name, Obstacle(("qemu", "user"), str(error).removeprefix("qemu.user: ")))
            account = None
        plan = Plan(spec, facts, made, running=name in running, ground=ground, account=account)
        for obstacle in preflight(plan):
            yield Told(name, obstacle)
        for note in made.notes:
            yield Told(name, Obstacle((), note, fatal=False))
    yield from _shared(specs, wanted)


def _facts(binary: str, prober: Prober) -> HostFacts | str:
    try:
        return prober.facts(binary)
    except LaunchError as error:
        return str(error)


def _made(spec: GuestSpec, facts: HostFacts) -> Invocation | str:
    try:
        return build(spec, facts, NO_LAUNCH)
    except (SpecError, LaunchError) as error:
        return str(error).removeprefix(f"{spec.name}: ")


def _shared(specs: Mapping[str, GuestSpec], wanted: Collection[str]) -> Iterator[Told]:
    """Images that two guests have under different names, by links; the same name is a fault of the files."""
    users: dict[tuple[int, int], tuple[str, str, str, bool]] = {}
    for guest in sorted(specs, key=lambda name: (name in wanted, name)):
        for disk, declared in specs[guest].disk.items():
            if declared.file is None:
                continue
            try:
                found = os.stat(declared.file)
            except OSError:
                continue
            mine = (guest, disk, str(declared.file), not declared.read_only)
            other = users.setdefault((found.st_dev, found.st_ino), mine)
            if guest in wanted and other[2] != mine[2] and (other[3] or mine[3]):
                told = f"{mine[2]} is {other[2]}, the image of guest {other[0]} (disk.{other[1]}.file)"
                yield Told(guest, Obstacle(("disk", disk, "file"), told))

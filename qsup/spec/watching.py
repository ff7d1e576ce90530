"""What the checks of a guest's readiness and health need of its devices. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.spec.problem import nearest, shown
from qsup.spec.tables.credential import NOTIFY, PREFIX
from qsup.spec.tables.hang import Stage
from qsup.spec.tables.health import HealthCheck
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.base import Finding, Path
    from qsup.spec.model import GuestSpec

NO_AGENT = "needs the guest agent's channel: [agent] enabled = true"


def watching(spec: GuestSpec) -> Iterator[Finding]:
    """Checks that could never pass."""
    ready = spec.ready
    if ready.check is ReadyCheck.AGENT and not spec.agent.enabled:
        yield ("ready", "check"), NO_AGENT
    if ready.check is ReadyCheck.NOTIFY and not spec.vsock.enabled:
        yield ("ready", "check"), "needs the vsock device: [vsock] enabled = true"
    if ready.check is ReadyCheck.NOTIFY:
        yield from _taken(spec)
    if ready.check is ReadyCheck.CONSOLE:
        yield from _port(spec, ready.serial, ("ready", "serial"))
    yield from _health(spec)
    drill = spec.drill
    if drill.panic or drill.hang or drill.triple_fault:
        yield from _port(spec, drill.serial, ("drill", "serial"))
    if Stage.AGENT in spec.hang.guest_stages and not spec.agent.enabled:
        yield ("hang", "guest-stages", spec.hang.guest_stages.index(Stage.AGENT)), NO_AGENT


def _taken(spec: GuestSpec) -> Iterator[Finding]:
    """A file of the very name that readiness needs."""
    told = f'has the name "{NOTIFY}", which [ready] check = "notify" gives to a credential of its own'
    for name, credential in spec.credential.items():
        if (credential.name or name) == NOTIFY:
            yield ("credential", name), told
    for name, item in spec.fw_cfg.items():
        if item.name == PREFIX + NOTIFY:
            yield ("fw-cfg", name), told


def _health(spec: GuestSpec) -> Iterator[Finding]:
    names: set[str] = set()
    for number, health in enumerate(spec.health):
        place = ("health", number)
        if health.name in names:
            yield (*place, "name"), f'the name "{health.name}" is taken by another check of this guest'
        names.add(health.name)
        if health.check in (HealthCheck.AGENT, HealthCheck.EXEC) and not spec.agent.enabled:
            yield (*place, "check"), NO_AGENT
        if health.check is HealthCheck.CONSOLE:
            yield from _port(spec, health.serial, (*place, "serial"))


def _port(spec: GuestSpec, serial: str | None, path: Path) -> Iterator[Finding]:
    """A serial port that is not there."""
    if serial is not None and serial not in spec.serial:
        yield path, f"there is no [serial.{serial}]{nearest(serial, spec.serial)}"
    elif not spec.serial:
        yield path[:-1], f"needs a serial port, and {shown(spec.name)} has none: [serial.console]"

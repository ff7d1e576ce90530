"""From what a guest's file asks for to what asks the guest: one probe for each way of checking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from qsup.checks import agent, console, http, tcp
from qsup.checks.verdict import Unable
from qsup.spec.tables.health import HealthCheck
from qsup.spec.tables.nic import NicType
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qsup.checks.notify import Notices
    from qsup.checks.tcp import Monitor
    from qsup.checks.verdict import Verdict
    from qsup.proc.console import Console
    from qsup.qmp.agent import Agent
    from qsup.spec.model import GuestSpec
    from qsup.spec.tables.health import Health
    from qsup.spec.tables.ready import Ready

    Probe = Callable[[], Awaitable[Verdict]]
    """Asks once. It comes to an end by its own deadline, and can be cancelled at any time."""

LOOK: Final = 5.0
"""Seconds that one look at a guest which is not ready yet may take."""

NO_AGENT: Final = "this machine was started without the guest agent's channel"
NO_PORT: Final = "this machine was started without that serial port"
NO_NOTICES: Final = "the daemon has no vsock port to be told at; its log says why"


@dataclass(frozen=True)
class Means:
    """How a running guest can be asked.

    ``spec`` is what it was started from: its file may ask by now for checks that this machine has no device for.
    ``console`` gives the supervisor's end of a serial port. ``agent`` is None without the agent's channel,
    ``notices`` if the daemon has no vsock port.
    """

    spec: GuestSpec
    agent: Agent | None
    console: Callable[[str], Console]
    monitor: Monitor
    notices: Notices | None

    def port(self, serial: str | None) -> Console | None:
        """A serial port, the first one if none is named; None if the machine does not have it."""
        name = serial if serial is not None else next(iter(self.spec.serial), None)
        return self.console(name) if name in self.spec.serial else None

    async def connect(self, address: str, deadline: float) -> Verdict:
        """Connect to the guest, with a look behind what takes connections for it."""
        kinds = {nic.type for nic in self.spec.nic.values()}
        monitor = self.monitor if NicType.USER in kinds else None
        return await tcp.connect(address, deadline, monitor=monitor)


def of_health(check: Health, means: Means) -> Probe:
    """The probe of a `[[health]]`, for one run of its guest."""
    deadline = float(check.timeout)
    match check.check:
        case HealthCheck.AGENT:
            return _ping(means, deadline)
        case HealthCheck.EXEC:
            return _exec(means, check)
        case HealthCheck.TCP:
            return lambda: means.connect(check.address or "", deadline)
        case HealthCheck.HTTP:
            return lambda: http.get(check.url or "", deadline)
        case HealthCheck.CONSOLE:
            port = means.port(check.serial)
            if port is None:
                return _cannot(NO_PORT)
            return lambda: console.beats(port, float(check.interval), deadline)
        case never:
            assert_never(never)


def of_ready(ready: Ready, means: Means) -> Probe:
    """The probe of a `[ready]` whose check is a question that is asked again and again."""
    match ready.check:
        case ReadyCheck.AGENT:
            return _ping(means, LOOK)
        case ReadyCheck.TCP:
            return lambda: means.connect(ready.address or "", LOOK)
        case ReadyCheck.HTTP:
            return lambda: http.get(ready.url or "", LOOK)
        case other:
            raise ValueError(f"{other} is waited for, not asked")


def _ping(means: Means, deadline: float) -> Probe:
    channel = means.agent
    return _cannot(NO_AGENT) if channel is None else lambda: agent.ping(channel, deadline)


def _exec(means: Means, check: Health) -> Probe:
    if means.agent is None:
        return _cannot(NO_AGENT)
    program = agent.Exec(means.agent, check.command)
    return lambda: program.run(float(check.timeout))


def _cannot(why: str) -> Probe:
    async def probe() -> Verdict:
        return Unable(why)

    return probe

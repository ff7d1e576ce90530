"""What is to be measured of a guest, and what is known of it already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsup.guest.state import State
    from qsup.histogram import Counted
    from qsup.proc.identity import Identity
    from qsup.qmp.session import QmpSession
    from qsup.spec.model import GuestSpec
    from qsup.vitals.verdict import Condition


@dataclass(frozen=True, slots=True)
class Measured:
    """One guest at this moment."""

    spec: GuestSpec
    """What its file says."""
    state: State
    launched: GuestSpec | None
    """What its process was launched from; None without one."""
    machine: str | None
    """The machine type that it runs with."""
    identity: Identity | None
    """Its process."""
    session: QmpSession | None
    condition: Condition | None
    """What was found when its process was last looked at; None as long as nobody looks."""
    latency: Counted
    """How long its QEMUs took to answer."""

"""Which machine type a guest has: what an alias meant at its first start is what it means for good.

`q35` is another machine in each release of QEMU, and guests notice: Windows wants to be activated again, a saved
state does not load. So the versioned type is kept with the alias that it was chosen for, as libvirt does it when a
domain is defined. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.errors import LaunchError

if TYPE_CHECKING:
    from qsup.argv.facts import HostFacts
    from qsup.guest.record import MachineRecord
    from qsup.spec.model import GuestSpec


def pinned(spec: GuestSpec, facts: HostFacts, kept: MachineRecord | None) -> str | None:
    """The versioned type to start instead of the alias in the file; None where the file's own word holds.

    ``kept`` is what was pinned before, for this alias or another. Raises LaunchError if the binary has lost it.
    """
    alias = spec.machine.type
    if not spec.machine.pin:
        return None
    known = facts.machines.get(alias)
    if kept is None or kept.alias != alias:
        return known.name if known is not None and known.name != alias else None
    if not facts.has_machine(kept.machine):
        now = f'type = "{known.name}"' if known is not None else "another type"
        raise LaunchError(
            f'machine.type: since its first start "{alias}" has been {kept.machine} for this guest, which '
            f"{facts.binary} does not have; run it on a QEMU that has it ([qemu] binary), or write {now} to give "
            "it another machine"
        )
    return kept.machine

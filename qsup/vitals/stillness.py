"""A guest none of whose vCPUs makes any progress, in a QEMU that is well. Pure.

The chief witness is each vCPU's interrupt flag. An operating system that lives takes interrupts: it rests with them
on, computes with them on, and has them off for moments only. With interrupts off at every look for minutes a guest
either rests for good (``cli; hlt``) or runs in a circle (``cli; jmp .``). The other witnesses can only acquit: an
interrupt that KVM has delivered, an access to a device, a request to a disk, a byte that was sent.

That a vCPU runs in a circle takes more to believe. The flag must have been seen set before: of a guest with encrypted
registers QEMU shows something, but not the guest's. And KVM's counters must be there to acquit it: boot loaders poll
the keyboard for ever with interrupts off, almost always. Under TCG, then, only a guest that rests for good is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from qsup.vitals.sample import RUNNABLE, UNINTERRUPTIBLE, Look
from qsup.vitals.verdict import EARLIER, Condition, Verdict, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.vitals.sample import Thread, Vcpu

FIRMWARE: Final = 30.0
"""Seconds after a start or a reset in which firmware is at work, much of the time with interrupts off."""
SHARE: Final = 0.05
"""Of a CPU: a vCPU that wants to run and gets less is starved by the host, and no witness."""
NAMED: Final = 4
"""vCPUs that evidence describes one by one."""


class Stillness(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which no vCPU has made progress."""

    began: float
    look: Look
    """The last one."""
    looks: int = 1

    def verdict(self, now: float) -> Verdict:
        """What the matter is, after too long a time of it."""
        if self.look.stuck is not None:
            return Verdict(Condition.HOST_STALLED, self.began, (self._stuck(self.look.stuck, now),))
        return Verdict(Condition.GUEST_HUNG, self.began, tuple(self._evidence(now)))

    def _stuck(self, thread: Thread, now: float) -> str:
        length = seconds(now - self.began)
        return (
            f"a vCPU's thread {thread.tid} waits for the host's storage or memory (state D), at "
            f"{self.looks} looks within {length}"
        )

    def _evidence(self, now: float) -> Iterator[str]:
        vcpus, work = self.look.vcpus, self.look.work
        yield (
            f"none of its vCPUs ({len(vcpus)}) had interrupts on at {self.looks} looks within "
            f"{seconds(now - self.began)}"
        )
        for vcpu in vcpus[:NAMED]:
            doing = "rests" if vcpu.halted else "runs"
            yield f"vCPU {vcpu.index} {doing} with interrupts off at {vcpu.address:#x}"
        if work.served is not None:
            yield "KVM has given it no interrupt, and had nothing to do for it"
        if work.disk is not None:
            yield "it has used no disk"
        if work.sent is not None:
            yield "it has sent nothing"


def followed(
    stillness: Stillness | None, before: Look | None, look: Look, timeout: float, *, trusted: bool
) -> Stillness | None:
    """The stillness after one more look; None if there is none. ``before`` is the look before, if one counts.

    ``trusted``: whether the interrupt flag of this guest has been seen set.
    """
    if not _is_still(before, look, trusted=trusted):
        return None
    if stillness is not None and (stillness.look.stuck is None) == (look.stuck is None):
        return Stillness(began=stillness.began, look=look, looks=stillness.looks + 1)
    earlier = 0.0 if before is None else min((look.at - before.at) / 2, timeout * EARLIER)
    return Stillness(began=look.at - earlier, look=look)


def _is_still(before: Look | None, look: Look, *, trusted: bool) -> bool:
    """Whether this look, with the one before, shows no progress."""
    if look.stuck is not None:
        return look.stuck.state == UNINTERRUPTIBLE
    if look.awake or (before is not None and look.work.differs(before.work)):
        return False
    if all(vcpu.halted or _is_off(before, look, vcpu) for vcpu in look.vcpus):
        return any(vcpu.halted for vcpu in look.vcpus)
    credible = trusted and look.work.served is not None
    return credible and not any(_is_starved(before, look, vcpu) for vcpu in look.vcpus)


def _is_off(before: Look | None, look: Look, vcpu: Vcpu) -> bool:
    """Whether it neither rests nor runs: nobody has started it."""
    share = _share(before, look, vcpu)
    return vcpu.thread.state != RUNNABLE and (share is None or share < SHARE)


def _is_starved(before: Look | None, look: Look, vcpu: Vcpu) -> bool:
    """Whether it wants to run and has had next to no CPU since the look before."""
    share = _share(before, look, vcpu)
    return vcpu.thread.state == RUNNABLE and share is not None and share < SHARE


def _share(before: Look | None, look: Look, vcpu: Vcpu) -> float | None:
    """How much of a CPU it has had since the look before; None if it was not looked at then."""
    if before is None or look.at <= before.at:
        return None
    for earlier in before.vcpus:
        if earlier.index == vcpu.index:
            return (vcpu.thread.ran - earlier.thread.ran) / (look.at - before.at)
    return None

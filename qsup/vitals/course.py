"""What the samples of a guest add up to: its owner hands over each as it comes, and asks for the verdict. Pure.

::

    course = Course()
    course = course.after(sample, spec.hang)
    verdict = course.verdict(spec.hang)

A course is small whatever its length. It belongs to one process: another begins with a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from qsup.vitals import silence, stillness
from qsup.vitals.sample import RUNNING, Look, Sample
from qsup.vitals.silence import Silence
from qsup.vitals.stillness import FIRMWARE, Stillness
from qsup.vitals.verdict import STALE, WELL, Condition, Verdict

if TYPE_CHECKING:
    from qsup.spec.tables.hang import Hang

NAP: Final = 0.01
"""Seconds of suspension that matter; less is the time between reading two clocks."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """The story so far."""

    last: Sample | None = None
    look: Look | None = None
    """The last that was had of the guest in this stretch of its running."""
    trusted: bool = False
    """Whether a vCPU has ever been seen with interrupts on."""
    silence: Silence | None = None
    stillness: Stillness | None = None

    def after(self, sample: Sample, hang: Hang) -> Course:
        """The story with one more sample."""
        look, still = self._guest(sample, float(hang.guest_timeout))
        return Course(
            last=sample,
            look=look,
            trusted=self.trusted or (sample.look is not None and sample.look.awake),
            silence=self._quiet(sample, float(hang.qemu_timeout)),
            stillness=still,
        )

    def verdict(self, hang: Hang) -> Verdict:
        """What is the matter as of the last sample."""
        now = self.last.at if self.last else 0.0
        if hang.qemu_timeout and self.silence and now - self.silence.began >= hang.qemu_timeout:
            return self.silence.verdict(now)
        if hang.guest_timeout and self.stillness and now - self.stillness.began >= hang.guest_timeout:
            return self.stillness.verdict(now)
        if self.silence and self.silence.resumed:
            return Verdict(Condition.WELL, self.silence.began, ("its process goes on",))
        return WELL

    def _quiet(self, sample: Sample, timeout: float) -> Silence | None:
        """For how long QEMU has been silent."""
        last = self.last
        unwatched = last is not None and (_slept(last, sample) or sample.at - last.at > timeout * STALE)
        anew = sample.busy or (unwatched and not self._is_over(self.silence, timeout))
        return silence.followed(self.silence, sample, timeout, anew=anew)

    def _guest(self, sample: Sample, timeout: float) -> tuple[Look | None, Stillness | None]:
        """The last look into the guest, and for how long it has been still."""
        last, look = self.last, sample.look
        if sample.busy or sample.run_state != RUNNING or (last and last.booted != sample.booted):
            return None, None
        before, still = self._remembered(sample, timeout)
        if look is None:
            return before, still
        if sample.booted is not None and look.at < sample.booted + FIRMWARE:
            return look, None
        return look, stillness.followed(still, before, look, timeout, trusted=self.trusted)

    def _remembered(self, sample: Sample, timeout: float) -> tuple[Look | None, Stillness | None]:
        """What counts of the looks before: nothing if the last is too old. But only progress acquits of a hang."""
        now = sample.look.at if sample.look else sample.at
        old = self.look is not None and now - self.look.at > timeout * STALE
        slept = self.last is not None and _slept(self.last, sample)
        if (old or slept) and not self._is_over(self.stillness, timeout):
            return None, None
        return self.look, self.stillness

    def _is_over(self, state: Silence | Stillness | None, timeout: float) -> bool:
        """Whether it had lasted for the whole timeout by the last sample."""
        return state is not None and self.last is not None and self.last.at - state.began >= timeout


def _slept(last: Sample, sample: Sample) -> bool:
    """Whether the host was suspended between two samples: what did not run then has no fault in it."""
    return sample.slept - last.slept > NAP

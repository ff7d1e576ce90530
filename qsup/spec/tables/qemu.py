"""The QEMU that runs the guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from qsup.spec.base import Finding, HostPath, Section, Text, about, within
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


class Qemu(Section, frozen=True, kw_only=True):
    """The QEMU that runs the guest."""

    binary: Annotated[HostPath | None, about("The binary; without it the `qemu-binary` of qsup.toml.")] = None
    args: Annotated[
        tuple[Text, ...],
        about(
            "Arguments added as they are, one string each, for what qsup has no key for. Those that would break supervision are refused.",
            max_length=256,
        ),
    ] = ()
    start_timeout: Annotated[
        Duration, about("How long QEMU may take from its start to its first QMP answer.")
    ] = Duration.parse("30 s")

    def wrong(self) -> Iterator[Finding]:
        """A wait that makes no sense."""
        yield from within("start-timeout", self.start_timeout, "100 ms", "1 d")

"""The virtual processors. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from qsup.spec.base import Finding, Section, about, form
from qsup.spec.numbers import Numbers, trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

CPU: Final = form(
    r"^[A-Za-z][A-Za-z0-9_.-]{0,39}$(?!\n)",
    "a CPU model is a letter, then up to 39 letters, digits, or any of _ . -",
)
FEATURE: Final = form(
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$(?!\n)",
    "a CPU feature is up to 40 letters, digits, or any of _ . -, a letter or digit first",
)
MOST_CPUS: Final = 1024


class Topology(NamedTuple):
    """How many of each there are: dies a socket, cores a die, threads a core."""

    sockets: int
    dies: int
    cores: int
    threads: int


class Cpu(Section, frozen=True, kw_only=True):
    """The virtual processors."""

    model: Annotated[
        str,
        CPU,
        about(
            "The CPU model. `host` is the host's own; under TCG, which cannot give that, it means `max`.",
            qemu="-cpu MODEL",
        ),
    ] = "host"
    features: Annotated[
        dict[Annotated[str, FEATURE], bool],
        about(
            "Features beside those of the model, by QEMU's names: `{ vmx = true, svm = false }`.",
            qemu="-cpu MODEL,FEATURE=on|off",
        ),
    ] = {}
    count: Annotated[int, about("How many vCPUs.", qemu="-smp cpus=", ge=1, le=MOST_CPUS)] = 1
    max: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_CPUS)] | None,
        about(
            "How many vCPUs there can be once more are plugged in; without it, `count`.", qemu="-smp maxcpus="
        ),
    ] = None
    sockets: Annotated[
        int,
        about("Sockets; 0: as many as follow from the rest, or 1.", qemu="-smp sockets=", ge=0, le=MOST_CPUS),
    ] = 0
    dies: Annotated[int, about("Dies a socket; 0: 1.", qemu="-smp dies=", ge=0, le=MOST_CPUS)] = 0
    cores: Annotated[
        int,
        about("Cores a die; 0: as many as follow from the rest.", qemu="-smp cores=", ge=0, le=MOST_CPUS),
    ] = 0
    threads: Annotated[int, about("Threads a core; 0: 1.", qemu="-smp threads=", ge=0, le=MOST_CPUS)] = 0
    pin: Annotated[
        tuple[Numbers, ...],
        about(
            'The host CPUs that each vCPU may run on, in turn: `["0", "1", "2-3"]`; one entry is for all vCPUs.',
            max_length=MOST_CPUS,
        ),
    ] = ()
    emulator_pin: Annotated[
        Numbers | None,
        about("The host CPUs that QEMU's other threads may run on: its main loop, its workers."),
    ] = None

    @property
    def most(self) -> int:
        """How many vCPUs there can be."""
        return self.max or self.count

    def topology(self) -> Topology:
        """The numbers of sockets, dies, cores and threads; raise ValueError where they do not make up the vCPUs.

        What is not said is 1, but for the cores, or the sockets where the cores are said.
        """
        said = [number for number in (self.sockets, self.dies, self.cores, self.threads) if number]
        rest, left_over = divmod(self.most, math.prod(said))
        if left_over:
            raise ValueError(
                f"{self.most} vCPUs cannot be made of {' x '.join(map(str, said))} sockets, dies, cores and threads"
            )
        cores = self.cores or rest
        sockets = self.sockets or (rest if self.cores else 1)
        made = Topology(sockets, self.dies or 1, cores, self.threads or 1)
        if math.prod(made) != self.most:
            raise ValueError(
                f"{' x '.join(map(str, made))} sockets, dies, cores and threads are {math.prod(made)} vCPUs, "
                f"not {self.most}"
            )
        return made

    def wrong(self) -> Iterator[Finding]:
        """Numbers of vCPUs that do not go together, and sets of CPUs that are none."""
        if self.max is not None and self.max < self.count:
            yield ("max",), f"{self.max} is less than count, {self.count}"
        else:
            try:
                self.topology()
            except ValueError as error:
                yield ("max" if self.max else "count",), str(error)
        if self.pin and len(self.pin) not in {1, self.count, self.most}:
            yield (
                ("pin",),
                f"{len(self.pin)} entries for {self.count} vCPUs; write one for each, or one for all",
            )
        for number, cpus in enumerate(self.pin):
            if why := trouble(cpus):
                yield ("pin", number), why
        if self.emulator_pin is not None and (why := trouble(self.emulator_pin)):
            yield ("emulator-pin",), why

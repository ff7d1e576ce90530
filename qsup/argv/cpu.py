"""The virtual processors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qsup.argv.hyperv import enlightenments
from qsup.argv.invocation import Option
from qsup.argv.quote import pairs, plain
from qsup.errors import SpecError
from qsup.spec.tables.machine import Accel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.spec.tables.cpu import Cpu

_UNQUOTABLE: Final = re.compile(r"[,=]")


def options(draft: Draft) -> Iterator[Option]:
    """The model with its features, and the topology: what QEMU makes of a bare count has changed between releases."""
    cpu = draft.spec.cpu
    model = "max" if cpu.model == "host" and draft.accel is Accel.TCG else cpu.model
    if "," in model:
        # QEMU reads -cpu by rules of its own, in which nothing quotes a comma.
        raise SpecError(f"cpu.model is {model!r}: it cannot have a comma; features go into cpu.features")
    yield Option("-cpu", ",".join([plain(model), *_hyperv(draft), *_features(cpu)]))
    yield Option("-smp", _smp(cpu))


def _hyperv(draft: Draft) -> Iterator[str]:
    """Their form is checked where they are declared: no name and no value has a comma."""
    if draft.accel is Accel.KVM and (chosen := enlightenments(draft.spec)):
        yield pairs(**{key.replace("-", "_"): value for key, value in chosen.items()})


def _features(cpu: Cpu) -> Iterator[str]:
    for name, on in cpu.features.items():
        if _UNQUOTABLE.search(name):
            raise SpecError(
                f"cpu.features has {name!r}: no feature has a comma or an equals sign in its name"
            )
        yield f"{plain(name)}={'on' if on else 'off'}"


def _smp(cpu: Cpu) -> str:
    try:
        made = cpu.topology()
    except ValueError as error:
        raise SpecError(f"cpu: {error}") from error
    more = {"maxcpus": cpu.most} if cpu.most != cpu.count else {}
    # Not every machine type has dies, so those that there is one of are not named.
    dies = {"dies": made.dies} if made.dies != 1 else {}
    return pairs(cpus=cpu.count, **more, sockets=made.sockets, **dies, cores=made.cores, threads=made.threads)

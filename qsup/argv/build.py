"""From a guest's definition to the command line that is executed."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from qsup.argv import (
    agent,
    boot,
    cpu,
    disk,
    display,
    extra,
    machine,
    memory,
    monitor,
    nic,
    panic,
    process,
    rng,
    serial,
)
from qsup.argv.draft import Draft
from qsup.argv.invocation import Invocation
from qsup.argv.quote import plain
from qsup.errors import SpecError

if TYPE_CHECKING:
    from qsup.argv.invocation import HostFacts, LaunchContext
    from qsup.spec.model import GuestSpec

SECTIONS: Final = (
    process,
    monitor,
    machine,
    cpu,
    memory,
    boot,
    disk,
    nic,
    serial,
    agent,
    rng,
    panic,
    display,
    extra,
)
"""The families of options, in the order in which they stand; each module has ``options(draft)``."""


def build(spec: GuestSpec, facts: HostFacts, context: LaunchContext) -> Invocation:
    """The command line and the sockets of one launch.

    Pure: the same arguments give the same invocation. Raises SpecError, its message headed by the guest's name,
    for what no QEMU could be started with.
    """
    try:
        draft = Draft.of(spec, facts, context)
        options = tuple(chain.from_iterable(section.options(draft) for section in SECTIONS))
        for option in options:
            for word in option.words():
                plain(word)
        binary = plain(facts.binary)
    except SpecError as error:
        raise SpecError(f"{spec.name}: {error}") from error
    return Invocation(binary, options, draft.listeners, draft.accel.value)

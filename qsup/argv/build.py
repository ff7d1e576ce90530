"""From a guest's definition to the command line that is executed."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from qsup.argv import (
    agent,
    balloon,
    boot,
    bridge,
    cdrom,
    clock,
    cpu,
    disk,
    display,
    extra,
    firmware,
    fw_cfg,
    inputs,
    iothread,
    machine,
    memory,
    monitor,
    nic,
    notify,
    numa,
    panic,
    parallel,
    passt,
    passthrough,
    process,
    rng,
    serial,
    share,
    smbios,
    sound,
    throttle,
    tpm,
    usb,
    video,
    virtio_serial,
    vsock,
    watchdog,
)
from qsup.argv.draft import Draft
from qsup.argv.invocation import Invocation
from qsup.argv.quote import plain, sourced
from qsup.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsup.argv.facts import HostFacts
    from qsup.argv.files import File
    from qsup.argv.helper import Helper
    from qsup.argv.invocation import LaunchContext, QmpCommand
    from qsup.spec.model import GuestSpec

SECTIONS: Final = (
    (process.options, ()),
    (monitor.options, ()),
    (machine.options, ("machine",)),
    (firmware.options, ("machine",)),
    (cpu.options, ("cpu",)),
    (memory.options, ("memory",)),
    (numa.options, ("numa",)),
    (boot.options, ("boot",)),
    (bridge.options, ()),
    (usb.options, ()),
    (throttle.options, ("throttle",)),
    (iothread.options, ("iothread",)),
    (disk.options, ("disk",)),
    (cdrom.options, ("cdrom",)),
    (nic.options, ("nic",)),
    (virtio_serial.options, ()),
    (serial.options, ("serial",)),
    (parallel.options, ("parallel",)),
    (agent.options, ("agent",)),
    (tpm.options, ("tpm",)),
    (share.options, ("share",)),
    (rng.options, ("rng",)),
    (balloon.options, ("balloon",)),
    (watchdog.options, ("watchdog",)),
    (panic.options, ("panic",)),
    (vsock.options, ("vsock",)),
    (passthrough.options, ()),
    (smbios.options, ("smbios",)),
    (fw_cfg.options, ("fw-cfg",)),
    (fw_cfg.credentials, ("credential",)),
    (notify.options, ("ready",)),
    (clock.options, ("clock",)),
    (display.options, ("display",)),
    (video.options, ("video",)),
    (inputs.options, ("input",)),
    (sound.options, ("sound",)),
    (extra.options, ("qemu",)),
)
"""The families of options, in the order in which they stand, each with the table of the file that it comes from."""
FILES: Final[tuple[Callable[[Draft], Iterator[File]], ...]] = (
    disk.files,
    cdrom.files,
    fw_cfg.files,
    firmware.files,
    display.files,
)
"""What the families need made before QEMU starts."""
NOTES: Final[tuple[Callable[[Draft], Iterator[str]], ...]] = (disk.notes,)
"""What the families give up, as this host cannot give it."""
COMMANDS: Final[tuple[Callable[[Draft], Iterator[QmpCommand]], ...]] = (nic.commands,)
"""The families that have QMP commands for what no option says."""

HELPERS: Final[tuple[Callable[[Draft], Iterator[Helper]], ...]] = (tpm.helpers, share.helpers, passt.helpers)
"""The families that need processes beside QEMU."""


def build(spec: GuestSpec, facts: HostFacts, context: LaunchContext) -> Invocation:
    """The command line, the sockets and the QMP commands of one launch.

    Pure: the same arguments give the same invocation. Raises SpecError, its message headed by the guest's name,
    for what no QEMU could be started with.
    """
    try:
        draft = Draft.of(spec, facts, context)
        options = tuple(chain.from_iterable(sourced(table, section(draft)) for section, table in SECTIONS))
        for option in options:
            for word in option.words():
                plain(word)
        commands = tuple(chain.from_iterable(section(draft) for section in COMMANDS))
        binary = plain(facts.binary)
        files = tuple(chain.from_iterable(family(draft) for family in FILES))
        helpers = tuple(chain.from_iterable(family(draft) for family in HELPERS))
        for word in chain.from_iterable(helper.argv for helper in helpers):
            plain(word)
        taps = tuple(draft.taps.values())
        for name in chain.from_iterable((tap.interface, tap.bridge, tap.helper) for tap in taps):
            plain(name or "")
        notes = tuple(chain.from_iterable(family(draft) for family in NOTES))
        environment = {name: plain(text) for name, text in sound.environment(draft)}
    except SpecError as error:
        raise SpecError(f"{spec.name}: {error}") from error
    return Invocation(
        binary,
        options,
        draft.listeners,
        draft.accel.value,
        draft.machine,
        taps,
        draft.devices,
        files,
        notes,
        commands,
        helpers,
        environment,
    )

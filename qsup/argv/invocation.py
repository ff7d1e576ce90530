"""What will be executed: the end of all pure work on a guest's definition."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from qsup.argv.files import File
from qsup.argv.helper import Helper
from qsup.spec.tables.display import DisplayType

LOCK_FD: Final = 3
"""The guest's lock file, inherited and never used by QEMU: the lock lives as long as QEMU does."""
QMP_FD: Final = 4
"""The listening QMP socket; those of serial ports and the agent follow."""
KVM: Final = "/dev/kvm"
QMP_FILE: Final = "qmp.sock"
"""The QMP socket's name in the run directory."""
AGENT_FILE: Final = "agent.sock"
"""The agent's socket, likewise."""
NOTIFY_PORT: Final = int.from_bytes(b"qsup")
"""The vsock port of the host at which guests report, where the daemon has no other."""
MADE: Final = "q"
"""The one directory there in which QEMU may make files itself; its name is short, as the path of a socket has to be."""
DISPLAY_FILES: Final = {DisplayType.VNC: f"{MADE}/vnc.sock", DisplayType.SPICE: f"{MADE}/spice.sock"}
"""The sockets that QEMU itself makes for viewers."""
DISPLAY_PASSWORD_FILE: Final = "display-password"  # noqa: S105 - a name
"""The viewers' password there."""
SEED_FILE: Final = "cloud-init.iso"
"""The seed of cloud-init there."""
QEMU_LOG: Final = "qemu.log"
"""QEMU's own log there, which tells of resets and triple faults; written under TCG only, without a bound."""


class Option(msgspec.Struct, frozen=True):
    """One option of QEMU's command line and its value, which belong on one line: ``-m``, ``size=2G``."""

    flag: str
    value: str | None = None
    source: tuple[str, ...] = ()
    """The table or key that it comes from, ``("disk", "root")``; empty for what qsup adds by itself."""

    def words(self) -> tuple[str, ...]:
        """The option as words of argv."""
        return (self.flag,) if self.value is None else (self.flag, self.value)


class QmpCommand(msgspec.Struct, frozen=True):
    """A QMP command that belongs to a launch: executed after the handshake, before the vCPUs run.

    It says what the command line has no option for. Executed twice it must do what it does once: a daemon that
    finds a guest which has not run yet cannot know how far the last one came.
    """

    execute: str
    arguments: dict[str, Any] = {}


class Listener(msgspec.Struct, frozen=True):
    """A Unix socket that the supervisor makes, listens on and hands to QEMU as ``fd``.

    ``file`` is its name in the launch's run directory: ``qmp.sock``, ``serial-console.sock``, ``agent.sock``.
    """

    fd: int
    file: str

    def __str__(self) -> str:
        return f"fd {self.fd}: {self.file}"


class Tap(msgspec.Struct, frozen=True):
    """A tap interface that the supervisor opens for QEMU, once for each queue: it is there, or is made on a bridge."""

    fds: tuple[int, ...]
    interface: str | None = None
    bridge: str | None = None
    helper: str | None = None
    """The `qemu-bridge-helper` that is not where it usually is."""

    def __str__(self) -> str:
        queues = ", ".join(f"fd {fd}" for fd in self.fds)
        return f"{queues}: {f'tap {self.interface}' if self.interface else f'a tap on {self.bridge}'}"


class Device(msgspec.Struct, frozen=True):
    """A device of the host that the supervisor opens for QEMU, to read and to write."""

    fd: int
    path: str

    def __str__(self) -> str:
        return f"fd {self.fd}: {self.path}"


class LaunchContext(msgspec.Struct, frozen=True):
    """What an invocation depends on beside spec and host: the identity of the launch.

    ``token`` is 16 hex digits, new for every launch; it stands in the command line (the QMP chardev's id is
    ``qsup-TOKEN``), so that a process can be recognised as this launch. ``run_dir`` is the fresh directory of
    the launch, for the paths that QEMU itself must make; ``state_dir`` is the guest's own directory, which
    outlives launches and the host. ``machine`` is the versioned machine type that the guest keeps; None: the
    type that its file names. ``notify_port`` is the host's vsock port at which guests report that they are ready.
    """

    token: str
    run_dir: str
    state_dir: str
    machine: str | None = None
    notify_port: int = NOTIFY_PORT


class Invocation(msgspec.Struct, frozen=True):
    """A complete command line, and the sockets that go with it."""

    binary: str
    options: tuple[Option, ...]
    listeners: tuple[Listener, ...]
    accel: str
    """``kvm`` or ``tcg``: what ``auto`` came to."""
    machine: str
    """The machine type: the one that the guest keeps, or the file's."""
    taps: tuple[Tap, ...] = ()
    devices: tuple[Device, ...] = ()
    files: tuple[File, ...] = ()
    """What is made before QEMU starts, where it is not there yet."""
    notes: tuple[str, ...] = ()
    """What the guest gets instead of what its file asks for, as this host cannot give it: a sentence each."""
    commands: tuple[QmpCommand, ...] = ()
    """In this order; the start has failed if QEMU refuses one."""
    helpers: tuple[Helper, ...] = ()
    """The processes that are there before QEMU is, and end after it."""
    environment: dict[str, str] = {}
    """What QEMU gets to see of its environment beside what all QEMUs do."""

    @property
    def inherited(self) -> tuple[Listener | Tap | Device, ...]:
        """What QEMU gets opened, beside its lock and the connections to its helpers."""
        return *self.listeners, *self.taps, *self.devices

    @property
    def argv(self) -> list[str]:
        """The words to execute, the binary first."""
        return [self.binary, *(word for option in self.options for word in option.words())]

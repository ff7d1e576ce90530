"""What will be executed: the end of all pure work on a guest's definition."""

from __future__ import annotations

from typing import Final

import msgspec

LOCK_FD: Final = 3
"""The guest's lock file, inherited and never used by QEMU: the lock lives as long as QEMU does."""
QMP_FD: Final = 4
"""The listening QMP socket; those of serial ports and the agent follow."""
QMP_FILE: Final = "qmp.sock"
"""The QMP socket's name in the run directory."""
AGENT_FILE: Final = "agent.sock"
"""The agent's socket, likewise."""
VNC_FILE: Final = "vnc.sock"
"""The socket that QEMU itself makes there for VNC."""
QEMU_LOG: Final = "qemu.log"
"""QEMU's own log there, which tells of resets and triple faults; written under TCG only, without a bound."""


class Option(msgspec.Struct, frozen=True):
    """One option of QEMU's command line and its value, which belong on one line: ``-m``, ``size=2G``."""

    flag: str
    value: str | None = None

    def words(self) -> tuple[str, ...]:
        """The option as words of argv."""
        return (self.flag,) if self.value is None else (self.flag, self.value)


class Listener(msgspec.Struct, frozen=True):
    """A Unix socket that the supervisor makes, listens on and hands to QEMU as ``fd``.

    ``file`` is its name in the launch's run directory: ``qmp.sock``, ``serial-console.sock``, ``agent.sock``.
    """

    fd: int
    file: str


class LaunchContext(msgspec.Struct, frozen=True):
    """What an invocation depends on beside spec and host: the identity of the launch.

    ``token`` is 16 hex digits, new for every launch; it stands in the command line (the QMP chardev's id is
    ``qsup-TOKEN``), so that a process can be recognised as this launch. ``run_dir`` is the fresh directory of
    the launch, for the paths that QEMU itself must make.
    """

    token: str
    run_dir: str


class HostFacts(msgspec.Struct, frozen=True):
    """What this host and this QEMU can do, as far as argv depends on it."""

    binary: str
    kvm: bool


class Invocation(msgspec.Struct, frozen=True):
    """A complete command line, and the sockets that go with it."""

    binary: str
    options: tuple[Option, ...]
    listeners: tuple[Listener, ...]
    accel: str
    """``kvm`` or ``tcg``: what ``auto`` came to."""

    @property
    def argv(self) -> list[str]:
        """The words to execute, the binary first."""
        return [self.binary, *(word for option in self.options for word in option.words())]

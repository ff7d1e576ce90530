"""What all guests of one daemon share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from qsup.argv.facts import HostFacts
    from qsup.blackbox.shelf import Shelf
    from qsup.bus import Bus
    from qsup.checks.notify import Notices
    from qsup.fdstore import FdStore
    from qsup.guest.grants import Grants
    from qsup.guest.users import Users
    from qsup.paths import Paths
    from qsup.probe.prober import Prober
    from qsup.probe.programs import Programs
    from qsup.proc.bounded import Keeper
    from qsup.proc.oom import OomLog
    from qsup.scope.scopes import Scopes
    from qsup.spec.model import GuestSpec


@dataclass
class Host:
    """The surroundings of a guest: where its files are, whom to tell, which QEMU to use by default."""

    paths: Paths
    bus: Bus
    keeper: Keeper
    qemu_binary: str
    boot_id: str
    prober: Prober
    programs: Programs
    oom: OomLog
    notify_port: int
    """The vsock port at which guests report that they are ready."""
    scopes: Scopes
    """Where guests' processes go."""
    shelf: Shelf
    """Where what is known of an abnormal end is kept."""
    store: FdStore
    """Where what must outlive the daemon is kept by systemd."""
    users: Users
    """Who QEMUs run as."""
    grants: Grants
    """What these users were given."""
    notices: Notices | None = None
    """Takes these reports; None if the host has no vsock."""

    def binary(self, spec: GuestSpec) -> str:
        """The QEMU for a guest."""
        return str(spec.qemu.binary or self.qemu_binary)

    def facts(self, spec: GuestSpec) -> HostFacts:
        """What a guest's QEMU and the helper programs that it needs can do. Raises LaunchError."""
        return self.programs.added(self.prober.facts(self.binary(spec)), spec)

    def lock_file(self, name: str) -> Path:
        """The file that a guest's QEMU keeps locked."""
        return self.paths.guest_state(name) / "lock"

    def state_file(self, name: str) -> Path:
        """The record of a guest's life."""
        return self.paths.guest_state(name) / "state.json"

    def machine_file(self, name: str) -> Path:
        """The record of the machine type that a guest keeps."""
        return self.paths.guest_state(name) / "machine.json"

    def launch_file(self, name: str) -> Path:
        """The record of a guest's process."""
        return self.paths.guest_runtime(name) / "launch.json"

    def run_dir(self, name: str, token: str) -> Path:
        """The directory of one launch: its sockets, QEMU's stderr."""
        return self.paths.guest_runtime(name) / token

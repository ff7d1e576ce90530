"""What cloud-init finds in the guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, HostPath, Section, Text, about, form
from qsup.spec.tables.disk import CdromBus

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTNAME: Final = form(
    r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,7}$(?!\n)",
    "a host name is letters, digits and hyphens, in parts with dots between them",
)
INSTANCE: Final = form(
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)",
    "an instance's id is a letter or digit, then up to 127 letters, digits, or any of _ . -",
)
USER: Final = form(
    r"^[a-z_][a-z0-9_-]{0,31}$(?!\n)",
    "a user's name is a small letter or _, then up to 31 small letters, digits, or any of _ -",
)
PACKAGE: Final = form(
    r"^[A-Za-z0-9][A-Za-z0-9+._:=~@/-]{0,127}$(?!\n)",
    "a package's name is a letter or digit, then up to 127 letters, digits, or any of + . _ : = ~ @ / -",
)
SSH_KEY: Final = form(
    r"^(ssh|ecdsa|sk)-[a-z0-9@.-]{1,60} [A-Za-z0-9+/]{16,}={0,3}( [^\x00-\x1f\x7f]*)?$(?!\n)",
    'write a public key as it stands in a .pub file: "ssh-ed25519 AAAA… name"',
)
GENERATED: Final = ("user", "ssh-authorized-keys", "password-hash-file", "packages", "run")
"""Keys out of which the user-data is made."""


class CloudInit(Section, frozen=True, kw_only=True):
    """A NoCloud seed, made anew at each start and attached as a CD-ROM drive, from which cloud-init sets up the guest."""

    hostname: Annotated[
        Annotated[str, HOSTNAME] | None, about("The guest's host name; without it the guest's own name.")
    ] = None
    instance_id: Annotated[
        Annotated[str, INSTANCE] | None,
        about(
            "A guest that finds another id than last time sets itself up anew. Without it one is derived from the guest's name and all that the seed holds."
        ),
    ] = None
    user: Annotated[
        Annotated[str, USER] | None,
        about(
            "The name of the first user, who may use sudo; without it the one of the guest's distribution."
        ),
    ] = None
    ssh_authorized_keys: Annotated[
        tuple[Annotated[str, SSH_KEY], ...],
        about("Public keys with which the first user can log in.", max_length=256),
    ] = ()
    password_hash_file: Annotated[
        HostPath | None,
        about(
            "A file that holds the hash of the user's password, as `mkpasswd` prints it; read at each start."
        ),
    ] = None
    packages: Annotated[
        tuple[Annotated[str, PACKAGE], ...], about("Packages that are installed.", max_length=1024)
    ] = ()
    run: Annotated[
        tuple[Text, ...],
        about("Commands for the guest's shell, run once, at the end of the first start.", max_length=1024),
    ] = ()
    user_data: Annotated[
        HostPath | None,
        about(
            "A file with user-data of any kind that cloud-init knows, instead of the keys from `user` to `run`."
        ),
    ] = None
    network_config: Annotated[
        HostPath | None,
        about("A file with the network configuration, version 1 or 2; without it the first NIC uses DHCP."),
    ] = None
    bus: Annotated[
        CdromBus | None,
        about("How the drive is attached, as that of a `[cdrom.ID]`.", qemu="-device DRIVER"),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """What the user-data cannot hold."""
        if self.user_data is not None:
            for key in GENERATED:
                if getattr(self, key.replace("-", "_")):
                    yield (key,), "cannot stand beside user-data; write it into that file"
        if self.password_hash_file is not None and self.user is None:
            yield ("password-hash-file",), "needs user, whose password it is"

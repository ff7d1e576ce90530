"""systemd credentials for the guest. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.base import Finding, HostPath, SecretText, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "opt/io.systemd.credentials/"
"""Where systemd looks for credentials among the firmware's files: systemd.io/CREDENTIALS."""
NOTIFY: Final = "vmm.notify_socket"
"""The credential that says where to report readiness; `[ready]` sets it where it is wanted."""
CREDENTIAL: Final = form(
    r"^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,27}$(?!\n)",
    "a credential's name is a letter or digit, then up to 27 letters, digits, or any of _ . : @ -",
)
"""What QEMU's limit for names of such files, 55 bytes, leaves room for."""


class Credential(Section, frozen=True, kw_only=True):
    """A systemd credential for the guest: `[credential.ID]`. It goes by files alone, and no list of changes shows it.

    In the guest `systemd-creds --system list` shows it, and units take it with `LoadCredential=` or `ImportCredential=`.
    """

    name: Annotated[
        Annotated[str, CREDENTIAL] | None,
        about(
            "Its name, such as `ssh.authorized_keys.root`; without it the id.",
            qemu="-fw_cfg name=opt/io.systemd.credentials/…",
        ),
    ] = None
    file: Annotated[
        HostPath | None, about("A file of the host that holds it, byte by byte.", qemu="-fw_cfg file=")
    ] = None
    text: Annotated[
        SecretText | None,
        about("The credential itself; in a file for QEMU alone it is handed over.", qemu="-fw_cfg file="),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """Of its two sources exactly one."""
        if self.file is None and self.text is None:
            yield (), "needs `file` or `text`"
        elif self.file is not None and self.text is not None:
            yield ("text",), "stands beside `file`; a credential has one source"

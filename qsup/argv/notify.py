"""Where a guest's systemd is to report: the credential ``vmm.notify_socket`` (systemd(1), since version 254).

It goes as a file of the firmware's configuration device, which every board has; SMBIOS, the other way, is not there
on a microvm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.invocation import Option
from qsup.argv.quote import pairs
from qsup.spec.tables.credential import NOTIFY, PREFIX
from qsup.spec.tables.ready import ReadyCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

HOST: Final = 2
"""The host's context id, as each of its guests sees it."""


def options(draft: Draft) -> Iterator[Option]:
    """The credential, where readiness is to be told."""
    if draft.spec.ready.check is ReadyCheck.NOTIFY:
        address = f"vsock-stream:{HOST}:{draft.context.notify_port}"
        yield Option("-fw_cfg", pairs(name=PREFIX + NOTIFY, string=address))

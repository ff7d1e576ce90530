"""What alerts need of this host, so that nobody learns of it only when there is something to tell."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from qsup.preflight.obstacle import REGULAR, Obstacle, unusable
from qsup.probe.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.spec.model import DaemonConfig


def obstacles(daemon: DaemonConfig) -> Iterator[Obstacle]:
    """Programs that cannot be run, and tokens that cannot be read."""
    if daemon.sendmail is not None and not _runs(daemon.sendmail):
        yield Obstacle(("sendmail",), f"{daemon.sendmail} is no program that can be run")
    sendmail = daemon.sendmail is not None or shutil.which("sendmail", path=PATH) is not None
    for number, alert in enumerate(daemon.alert):
        here = ("alert", number)
        if alert.command and not _runs(alert.command[0]):
            yield Obstacle((*here, "command", 0), f"{alert.command[0]} is no program that can be run")
        if alert.webhook_token_file is not None:
            yield from unusable((*here, "webhook-token-file"), alert.webhook_token_file, REGULAR)
        if alert.mail and not sendmail:
            yield Obstacle((*here, "mail"), "there is no sendmail in the PATH; install one, or set sendmail")


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)

"""The helper programs that a guest needs, and the directories that they share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsup import acl
from qsup.preflight.obstacle import Obstacle
from qsup.spec.programs import PASST, SWTPM, VIRTIOFSD, needed
from qsup.spec.tables.share import ShareSecurity, ShareType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.facts import Program
    from qsup.preflight.obstacle import Plan
    from qsup.proc.account import Account
    from qsup.spec.base import Path
    from qsup.spec.tables.share import Share

PACKAGES: Final = {
    SWTPM: "swtpm",
    VIRTIOFSD: "virtiofsd; on Debian 12 it is part of qemu-system-common",
    PASST: "passt",
}
"""Debian's and Fedora's names."""


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Programs that are not installed, directories that are not there."""
    for name, path in needed(plan.spec):
        yield from _program(path, name, plan.facts.program(name))
    for name, share in plan.spec.share.items():
        yield from _share(name, share)
        if plan.account is not None and share.type is ShareType.NINEP:
            yield from _served(name, share, plan.account)


def _program(path: Path, name: str, program: Program) -> Iterator[Obstacle]:
    if not program.found:
        wrong = (
            f"{program.path} is no executable file" if os.path.exists(program.path) else "is not installed"
        )
        hint = f"install it (package {PACKAGES[name]}), or name it in qsup.toml: {name} = "
        yield Obstacle(path, f'{name} {wrong}; {hint}"/…"')
    elif name == VIRTIOFSD and not program.has("--shared-dir") and os.geteuid() != 0:
        yield Obstacle(path, f"{program.path}, which came with QEMU 7, needs root; share the directory as 9p")


def _served(name: str, share: Share, account: Account) -> Iterator[Obstacle]:
    """What QEMU shares by itself, its user must be let at by the administrator: nobody else knows what is meant."""
    if share.security is ShareSecurity.PASSTHROUGH:
        told = f'user {account.name} cannot give files away; write "mapped-xattr", or [qemu] user = "root"'
        yield Obstacle(("share", name, "security"), told)
    try:
        status = os.stat(share.path)
        has = acl.rights(acl.read(share.path), status.st_uid, status.st_gid, account.uid, account.gids)
    except OSError:
        return
    if (acl.READ | acl.ENTER) & ~has:
        told = f"user {account.name}, who runs QEMU, may not look into {share.path}"
        yield Obstacle(
            ("share", name, "path"), f"{told}; `setfacl -R -m u:{account.uid}:rwX {share.path}` lets it"
        )


def _share(name: str, share: Share) -> Iterator[Obstacle]:
    path = ("share", name, "path")
    if not os.path.exists(share.path):
        yield Obstacle(path, f"{share.path} does not exist")
    elif not os.path.isdir(share.path):
        yield Obstacle(path, f"{share.path} is no directory")
    elif not os.access(share.path, os.R_OK | os.X_OK):
        yield Obstacle(path, f"{share.path} cannot be read by this user")
    if share.security is ShareSecurity.PASSTHROUGH and os.geteuid() != 0:
        yield Obstacle(("share", name, "security"), 'only root can give files away; write "mapped-xattr"')

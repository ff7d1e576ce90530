"""Directories of the host: virtiofs, with a virtiofsd for each, and 9p, which QEMU does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.argv.board import BRIDGE_SLOTS_SHARE, Board, slot
from qsup.argv.helper import HELPER_FD, Helper
from qsup.argv.invocation import Option
from qsup.argv.quote import device, pairs, plain, sourced
from qsup.errors import SpecError
from qsup.spec.programs import VIRTIOFSD
from qsup.spec.tables.share import ShareCache, ShareSecurity, ShareType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.facts import Program
    from qsup.spec.tables.share import Share

GET_FEATURES: Final = (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
"""VHOST_USER_GET_FEATURES (QEMU: docs/interop/vhost-user.rst): request 1, version 1, no payload."""

FEATURES: Final = 12 + 8
"""Bytes of its answer: a header, and the set of features."""


def options(draft: Draft) -> Iterator[Option]:
    """Each share in the file's order, behind the bridge."""
    for index, (name, share) in enumerate(draft.spec.share.items()):
        yield from sourced(("share", name), _share(draft, index, name, share))


def _share(draft: Draft, index: int, name: str, share: Share) -> Iterator[Option]:
    ident = f"share-{name}"
    if share.type is ShareType.VIRTIOFS:
        yield Option("-chardev", draft.connected(ident))
        place = _place(draft, "vhost-user-fs", index)
        yield device({**place, "id": ident, "chardev": ident, "tag": share.tag or name})
        return
    security = share.security or ShareSecurity.MAPPED_XATTR
    # Files of several file systems in one share may have the same number; remapped, they stay apart.
    kind = f"local,security_model={security},multidevs=remap"
    yield Option("-fsdev", pairs(kind, id=ident, path=share.path, readonly=share.read_only))
    place = _place(draft, "virtio-9p", index)
    yield device({**place, "id": ident, "fsdev": ident, "mount_tag": share.tag or name})


def _place(draft: Draft, driver: str, index: int) -> dict[str, object]:
    if draft.board is Board.MICROVM:
        return {"driver": f"{driver}-device"}
    return draft.board.behind(f"{driver}-pci", slot("shares", BRIDGE_SLOTS_SHARE, index))


def helpers(draft: Draft) -> Iterator[Helper]:
    """A virtiofsd for each virtiofs share; it ends when QEMU hangs up.

    Its sandbox is the default one of both virtiofsds, a namespace in which the share is all that there is. The one
    in Rust makes it without privileges as well, by a user namespace; the older one in C needs to be root.
    """
    for name, share in draft.spec.share.items():
        if share.type is ShareType.VIRTIOFS:
            program = draft.facts.program(VIRTIOFSD)
            words = _separate(share, program, name) if program.has("--shared-dir") else _joined(share, name)
            fd = f"--fd={HELPER_FD}"
            ident = f"share-{name}"
            yield Helper(ident, (program.path, fd, *words), draft.connections[ident], GET_FEATURES, FEATURES)


def _separate(share: Share, program: Program, name: str) -> list[str]:
    """The options of the virtiofsd in Rust (gitlab.com/virtio-fs/virtiofsd)."""
    words = [f"--shared-dir={share.path}", "--sandbox=namespace", f"--cache={share.cache or ShareCache.AUTO}"]
    if share.read_only:
        if not program.has("--readonly"):
            raise SpecError(f"share.{name}.read-only: {program.path} is too old for that; share it as 9p")
        words.append("--readonly")
    return words


def _joined(share: Share, name: str) -> list[str]:
    """The options of the one in C, which came with QEMU up to 7.2."""
    if share.read_only:
        raise SpecError(f"share.{name}.read-only: the virtiofsd of QEMU 7 cannot do that; share it as 9p")
    if any(char in share.path for char in ",\\"):
        raise SpecError(f"share.{name}.path: the virtiofsd of QEMU 7 takes no comma or backslash in a path")
    cache = "none" if share.cache is ShareCache.NEVER else share.cache or ShareCache.AUTO
    return ["-o", plain(f"source={share.path}"), "-o", "sandbox=namespace", "-o", f"cache={cache}"]

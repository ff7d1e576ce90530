"""The guest's screen."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from qsup.argv import usb
from qsup.argv.board import SLOT_VIDEO
from qsup.argv.invocation import VNC_FILE, Option
from qsup.argv.quote import comma, device
from qsup.errors import SpecError
from qsup.spec.tables.display import DisplayType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft

LONGEST_SOCKET_PATH: Final = 107
"""Bytes of a path that the kernel's ``sockaddr_un`` has room for, less the final NUL."""


def options(draft: Draft) -> Iterator[Option]:
    """No window in any case. VNC comes with a tablet, as the position of a plain mouse cannot follow the viewer's."""
    yield Option("-display", "none")
    if draft.spec.display.type is DisplayType.NONE:
        return
    yield Option("-vnc", f"unix:{comma(_socket_path(draft))}")
    yield device({**draft.board.pci("VGA", SLOT_VIDEO), "id": "video"})
    yield device({"driver": "usb-tablet", **usb.port(draft.spec, usb.TABLET), "id": usb.TABLET})


def _socket_path(draft: Draft) -> str:
    path = posixpath.join(draft.context.run_dir, VNC_FILE)
    if (length := len(path.encode(errors="surrogateescape"))) > LONGEST_SOCKET_PATH:
        raise SpecError(
            f"the path of the VNC socket has {length} bytes, and {LONGEST_SOCKET_PATH} are the most: {path};"
            " choose a shorter name or --runtime-dir"
        )
    return path

"""passt, which gives a NIC the host's network without privileges (passt.top).

QEMU accepts on the socket and passt gets the connected end, not the other way round: a stream netdev that accepts
goes on accepting when its peer has gone, in every QEMU that has it (7.2), while one that connects does so from 8.0
on only, under names that have changed since. So a passt that died is replaced under the running guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsup.argv.helper import HELPER_FD, Helper, socket_file
from qsup.spec.programs import PASST
from qsup.spec.tables.nic import NicType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsup.argv.draft import Draft
    from qsup.argv.facts import Program
    from qsup.spec.tables.nic import Nic


def backend(draft: Draft, name: str) -> dict[str, object]:
    """The members of ``-netdev`` for a NIC on passt."""
    fd = draft.listening(socket_file(f"net-{name}"))
    return {"type": "stream", "server": True, "addr": {"type": "fd", "str": str(fd)}}


def helpers(draft: Draft) -> Iterator[Helper]:
    """A passt for each NIC; it ends with its connection (``--fd`` implies ``--one-off``)."""
    for name, nic in draft.spec.nic.items():
        if nic.type is NicType.PASST:
            yield Helper(f"net-{name}", _words(draft.facts.program(PASST), nic))


def _words(program: Program, nic: Nic) -> tuple[str, ...]:
    words = [program.path, "--foreground", "--fd", str(HELPER_FD)]
    if program.options and program.has("--stderr"):
        # Before 2024 it tells syslog why it ends, and nobody else, unless it is told to.
        words.append("--stderr")
    if nic.interface is not None:
        words += ["--interface", nic.interface]
    for forward in nic.forward:
        words += _forward(forward)
    return tuple(words)


def _forward(forward: str) -> tuple[str, str]:
    """``tcp:127.0.0.1:8080:80`` as passt writes it: ``-t 127.0.0.1/8080:80``."""
    protocol, address, port, guest_port = forward.split(":")
    where = f"{address}/" if address else ""
    return f"--{protocol}-ports", f"{where}{port}:{guest_port}"

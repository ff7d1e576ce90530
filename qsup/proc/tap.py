"""Tap interfaces, opened for a QEMU that may not do so itself (Linux: Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
from typing import TYPE_CHECKING, Final

from qsup import rights
from qsup.errors import LaunchError
from qsup.proc import tool

if TYPE_CHECKING:
    from contextlib import ExitStack

    from qsup.argv.invocation import Tap

TUN: Final = "/dev/net/tun"
TUNSETIFF: Final = 0x400454CA
IFF_TAP: Final = 0x0002
IFF_MULTI_QUEUE: Final = 0x0100
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
"""Linux: include/uapi/linux/if_tun.h. Each packet comes with a virtio header, as all cards of QEMU can take it."""
BRIDGE_HELPER: Final = "qemu-bridge-helper"
HELPER_PLACES: Final = "/usr/lib/qemu:/usr/libexec:/usr/libexec/qemu:/usr/local/libexec"
"""Where distributions and QEMU itself install it."""
DEADLINE: Final = 10.0
"""Seconds for the helper, which makes a few system calls."""


async def open_tap(tap: Tap, ours: ExitStack) -> dict[int, int]:
    """The queues of one tap, by their fds in QEMU; our own are closed with ``ours``. Raises LaunchError."""
    if tap.interface is not None:
        found = [_queue(tap.interface, several=len(tap.fds) > 1, ours=ours) for _ in tap.fds]
    else:
        found = [await _bridged(tap, ours)]
    return dict(zip(tap.fds, found, strict=True))


def _queue(interface: str, *, several: bool, ours: ExitStack) -> int:
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if several else 0)
    try:
        fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        ours.callback(os.close, fd)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", interface.encode(), flags))
    except OSError as error:
        raise LaunchError(f"the tap interface {interface} cannot be opened: {error.strerror}") from error
    return fd


async def _bridged(tap: Tap, ours: ExitStack) -> int:
    """A tap that is new and a port of the bridge, by QEMU's own helper: ``bridge.conf`` says who may have one."""
    program = tap.helper or shutil.which(BRIDGE_HELPER, path=HELPER_PLACES)
    if program is None:
        raise LaunchError(
            f"there is no {BRIDGE_HELPER}; install it (qemu-system-common), or name it: `helper`"
        )
    here, there = socket.socketpair()
    with here, there:
        argv = [program, "--use-vnet", f"--br={tap.bridge}", "--fd=0"]
        status, said = await tool.run(argv, DEADLINE, source=there.fileno())
        if (status.how, status.number) != ("exit", 0):
            raise LaunchError(f"no tap on the bridge {tap.bridge}: {said or f'{BRIDGE_HELPER}: {status}'}")
        here.setblocking(False)
        try:
            fds = rights.receive(here, 1, 1).fds
        except BlockingIOError:
            fds = []
    if not fds:
        raise LaunchError(f"no tap on the bridge {tap.bridge}: {program} has handed over none")
    ours.callback(os.close, fds[0])
    return fds[0]

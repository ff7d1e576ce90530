"""What a guest's command line calls for on this host: somebody at the other end of a socket, hardware."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from qsup.probe.vhost import VHOST_NET, vhost_net
from tests.fakes.fake_switch import FakeSwitch

if TYPE_CHECKING:
    from contextlib import ExitStack

    from qsup.spec.model import GuestSpec

VSOCK = "/dev/vhost-vsock"
RENDER_NODE = "/dev/dri/renderD128"


def with_peers(spec: GuestSpec, cleanup: ExitStack) -> GuestSpec:
    """Have somebody listen where the guest calls; where that is a port, it becomes one that is free."""
    for nic in spec.nic.values():
        if nic.socket is not None:
            cleanup.enter_context(FakeSwitch(Path(nic.socket)))
    redirects = {}
    for name, redirect in spec.usb_redirect.items():
        if redirect.address is not None:
            server = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
            address = f"127.0.0.1:{server.getsockname()[1]}"
            redirects[name] = msgspec.structs.replace(redirect, address=address)
    display = spec.display
    if display.port is not None:
        display = msgspec.structs.replace(display, port=free_port())
    redirects = {**spec.usb_redirect, **redirects}
    return msgspec.structs.replace(spec, usb_redirect=redirects, display=display)


def free_port() -> int:
    """One that is free now, and beyond where QEMU's ports for VNC begin."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def skip_unless_the_hardware_is_here(spec: GuestSpec) -> None:
    """What is skipped for that is tried without it in ``test_passthrough``."""
    if spec.vsock.enabled and not os.path.exists(VSOCK):
        pytest.skip(f"{VSOCK} is not there")
    if any(nic.vhost for nic in spec.nic.values()) and not vhost_net():
        pytest.skip(f"{VHOST_NET} is not there")
    if spec.pci:
        pytest.skip("a real PCI device, bound to vfio-pci, would have to be given away")
    if spec.display.draws and not os.path.exists(spec.display.render_node or RENDER_NODE):
        pytest.skip(f"this host has no GPU that could draw ({RENDER_NODE})")
    if spec.sound.server is not None and not os.path.exists(spec.sound.server):
        pytest.skip(f"{spec.sound.server} is not there")


def skip_if_the_hardware_is_here(spec: GuestSpec) -> None:
    """Then it is tried with all else."""
    if spec.vsock.enabled and os.path.exists(VSOCK):
        pytest.skip(f"{VSOCK} is there")

"""How a guest's screen is said to be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsup.guest.describe import screen_line
from qsup.spec.base import HostPath
from qsup.spec.tables.display import Display, DisplayType


@pytest.mark.parametrize(
    ("display", "said"),
    [
        (Display(), None),
        (Display(type=DisplayType.VNC), "vnc on unix:/run/q/vnc.sock"),
        (Display(type=DisplayType.SPICE), "spice on unix:/run/q/spice.sock"),
        (Display(type=DisplayType.VNC, port=5901), "vnc on 127.0.0.1:5901"),
        (
            Display(type=DisplayType.SPICE, port=5930, address="::1", tls=HostPath("/t")),
            "spice on [::1]:5930, TLS",
        ),
        (Display(type=DisplayType.VNC, tls=HostPath("/t")), "vnc on unix:/run/q/vnc.sock, TLS"),
        (Display(type=DisplayType.EGL_HEADLESS), "egl-headless"),
    ],
)
def test_the_line_of_the_status_says_where_the_screen_is(display: Display, said: str | None) -> None:
    assert screen_line(display, Path("/run")) == said

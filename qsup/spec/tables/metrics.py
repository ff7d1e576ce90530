"""Where the daemon's figures can be read. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from qsup.spec.address import Endpoint, is_loopback
from qsup.spec.base import Finding, Section, about, form

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIX: Final = "unix:"
LISTEN: Final = form(
    r"^(unix:/[^\x00-\x1f\x7f]{1,106}|[0-9.]{7,15}:[0-9]{1,5}|\[[0-9A-Fa-f:.]{2,45}\]:[0-9]{1,5})$(?!\n)",
    'write "unix:/run/qsup/metrics.sock", or "127.0.0.1:9177", or "[::1]:9177"',
)
GROUP: Final = form(
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$(?!\n)",
    "the name of a group is up to 32 letters, digits, or any of _ . -, and does not begin with one of the last two",
)


class Metrics(Section, frozen=True, kw_only=True):
    """Figures of the daemon and of all guests, for Prometheus and what else reads its formats: `GET /metrics`."""

    listen: Annotated[
        Annotated[str, LISTEN] | None,
        about(
            "A Unix socket, or a port on a loopback address, which every user of this host can read; without it nothing is served."
        ),
    ] = None
    group: Annotated[
        Annotated[str, GROUP] | None,
        about("A group whose members may use the Unix socket; without it only the daemon's own user may."),
    ] = None

    def wrong(self) -> Iterator[Finding]:
        """A place that other hosts could reach, or that is none."""
        if self.listen is None:
            if self.group is not None:
                yield ("group",), "needs listen, which says what the group may use"
        elif self.path is None:
            yield from self._wrong_port(self.listen)

    def _wrong_port(self, listen: str) -> Iterator[Finding]:
        endpoint = Endpoint.of(listen)
        if endpoint.trouble:
            yield ("listen",), endpoint.trouble
        elif not is_loopback(endpoint.host):
            yield (
                ("listen",),
                f"{endpoint.host} can be reached by other hosts, and nothing here asks who they are;"
                ' write "127.0.0.1" or "[::1]", and have a proxy in front of it where others shall read it',
            )
        if self.group is not None:
            yield ("group",), "is for a Unix socket only; a port is open to every user of this host"

    @property
    def path(self) -> str | None:
        """The path of the Unix socket, if it is one."""
        if self.listen is None or not self.listen.startswith(UNIX):
            return None
        return self.listen.removeprefix(UNIX)

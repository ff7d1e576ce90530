"""Checks of a running guest's health. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from qsup.spec.address import ENDPOINT, HTTP_URL, Endpoint, WebUrl
from qsup.spec.base import Finding, Identifier, Section, Text, about, within
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


class HealthCheck(StrEnum):
    """How a guest is asked whether it is well."""

    AGENT = "agent"
    EXEC = "exec"
    TCP = "tcp"
    HTTP = "http"
    CONSOLE = "console"


class Health(Section, frozen=True, kw_only=True):
    """A check that is repeated while the guest runs, as often as wished: `[[health]]`. It rests while the guest is paused, in its firmware, frozen, being saved or under maintenance."""

    name: Annotated[Identifier, about("What messages and `qsup status` call it.")]
    check: Annotated[
        HealthCheck,
        about(
            "`agent`: the guest agent answers; `exec`: it runs `command`, which exits with 0; `tcp`: `address` takes a connection; `http`: `url` answers with 2xx or 3xx; `console`: the guest prints something at least every `interval`."
        ),
    ]
    address: Annotated[
        Annotated[str, ENDPOINT] | None,
        about(
            "For `tcp`: an address and a port as the host reaches the guest. passt takes connections before the guest does; with it `http` tells more."
        ),
    ] = None
    url: Annotated[Annotated[str, HTTP_URL] | None, about("For `http`: where the host asks.")] = None
    command: Annotated[
        tuple[Text, ...], about("For `exec`: a program in the guest, and its arguments.", max_length=64)
    ] = ()
    serial: Annotated[
        Identifier | None, about("For `console`: the serial port; without it the first one.")
    ] = None
    interval: Annotated[Duration, about("How long after one check comes the next.")] = Duration.parse("30 s")
    timeout: Annotated[Duration, about("A check without an answer by then has failed.")] = Duration.parse(
        "5 s"
    )
    failures: Annotated[
        int,
        Meta(ge=1, le=100),
        about("After how many failures in a row the guest is `guest-unhealthy`."),
    ] = 3
    start_period: Annotated[
        Duration,
        about(
            "After the vCPUs begin to run, failures do not count for so long, unless a check has passed before."
        ),
    ] = Duration.parse("1 min")

    def wrong(self) -> Iterator[Finding]:
        """Keys that a check lacks, or that belong to another one."""
        yield from within("interval", self.interval, "1 s", "1 d")
        yield from within("timeout", self.timeout, "100 ms", "1 h")
        yield from within("start-period", self.start_period, "0 s", "1 d")
        needs = {"address": HealthCheck.TCP, "url": HealthCheck.HTTP, "command": HealthCheck.EXEC}
        for key, check in needs.items():
            value = getattr(self, key)
            if not value and self.check is check:
                yield (key,), f'is missing; check = "{check}" needs it'
            elif value and self.check is not check:
                yield (key,), f'belongs to check = "{check}", and the check is "{self.check}"'
        if self.serial is not None and self.check is not HealthCheck.CONSOLE:
            yield ("serial",), f'belongs to check = "console", and the check is "{self.check}"'
        if self.address is not None and (trouble := Endpoint.of(self.address).trouble):
            yield ("address",), trouble
        if self.url is not None and (trouble := WebUrl.of(self.url).trouble):
            yield ("url",), trouble

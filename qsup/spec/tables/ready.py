"""When a guest counts as ready. Declared as :mod:`qsup.spec.model` says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from qsup.spec.address import ENDPOINT, HTTP_URL, Endpoint, WebUrl
from qsup.spec.base import TEXT, Finding, Identifier, Section, about, within
from qsup.units import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator


class ReadyCheck(StrEnum):
    """What shows that a guest is ready."""

    RUNNING = "running"
    AGENT = "agent"
    TCP = "tcp"
    HTTP = "http"
    CONSOLE = "console"
    NOTIFY = "notify"
    DELAY = "delay"


class Ready(Section, frozen=True, kw_only=True):
    """When the guest counts as ready: guests that come `after` it wait for that, and so does `--wait` of `qsup start`."""

    check: Annotated[
        ReadyCheck,
        about(
            "`running`: as soon as its vCPUs run; `agent`: its guest agent answers; `tcp`: `address` takes connections; `http`: `url` answers with 2xx or 3xx; `console`: `text` was printed; `notify`: its systemd says so over vsock (`vmm.notify_socket`); `delay`: its vCPUs have run for `delay`."
        ),
    ] = ReadyCheck.RUNNING
    address: Annotated[
        Annotated[str, ENDPOINT] | None,
        about(
            "For `tcp`: an address and a port as the host reaches the guest, say `127.0.0.1:8080`. passt takes connections before the guest does; with it `http` tells more."
        ),
    ] = None
    url: Annotated[
        Annotated[str, HTTP_URL] | None,
        about("For `http`: where the host asks, say `http://127.0.0.1:8080/`."),
    ] = None
    text: Annotated[
        Annotated[str, TEXT, Meta(min_length=1, max_length=256)] | None,
        about("For `console`: what the guest prints when it is ready, on one line."),
    ] = None
    serial: Annotated[
        Identifier | None, about("For `console`: the serial port; without it the first one.")
    ] = None
    delay: Annotated[Duration | None, about("For `delay`: how long.")] = None
    interval: Annotated[Duration, about("How long after one look comes the next.")] = Duration.parse("1 s")
    timeout: Annotated[
        Duration,
        about(
            "A guest that is not ready by then is a `start-timeout`, which counts as a failure; `0 s` waits for ever."
        ),
    ] = Duration.parse("5 min")

    def wrong(self) -> Iterator[Finding]:
        """Keys that a check lacks, or that belong to another one."""
        yield from within("interval", self.interval, "100 ms", "1 h")
        yield from within("timeout", self.timeout, "0 s", "1 d")
        needs = {
            "address": ReadyCheck.TCP,
            "url": ReadyCheck.HTTP,
            "text": ReadyCheck.CONSOLE,
            "delay": ReadyCheck.DELAY,
        }
        for key, check in needs.items():
            value = getattr(self, key)
            if value is None and self.check is check:
                yield (key,), f'is missing; check = "{check}" needs it'
            elif value is not None and self.check is not check:
                yield (key,), f'belongs to check = "{check}", and the check is "{self.check}"'
        if self.serial is not None and self.check is not ReadyCheck.CONSOLE:
            yield ("serial",), f'belongs to check = "console", and the check is "{self.check}"'
        if self.delay is not None:
            yield from within("delay", self.delay, "0 s", "1 d")
            if self.timeout and self.delay >= self.timeout:
                yield ("delay",), f"{self.delay} is not less than timeout, {self.timeout}"
        if self.address is not None and (trouble := Endpoint.of(self.address).trouble):
            yield ("address",), trouble
        if self.url is not None and (trouble := WebUrl.of(self.url).trouble):
            yield ("url",), trouble

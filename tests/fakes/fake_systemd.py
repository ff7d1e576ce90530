"""A systemd and a machined on a bus, for what the real ones do not do on request: refuse, linger, forget to answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.fakes.message_bus import MessageBus, service

SYSTEMD = "org.freedesktop.systemd1"
MACHINED = "org.freedesktop.machine1"


class FakeSystemd:
    """What was asked of it, and how it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Any]]] = []
        """Methods and arguments, variants unpacked."""
        self.scopes: dict[str, dict[str, Any]] = {}
        self.unknown: set[str] = set()
        """Properties that it does not know."""
        self.lingering = 0
        """How often a scope is said to be there still."""
        self.result = "done"
        self.silent = False
        """Whether it tells nobody what becomes of jobs."""
        self.refusal: tuple[str, str] | None = None
        self.machines: dict[str, tuple[Any, ...]] = {}
        self.client: Any = None

    def of(self, method: str) -> list[list[Any]]:
        """The arguments of each call of a method."""
        return [values for name, values in self.asked if name == method]

    def answer(self, call: Any) -> Any:
        """Answer a call."""
        from dbus_fast import Message
        from dbus_fast.unpack import unpack_variants

        values = unpack_variants(call.body)
        self.asked.append((call.member, values))
        if self.refusal is not None:
            return Message.new_error(call, *self.refusal)
        match call.member:
            case "StartTransientUnit":
                return self._start(call, values[0], dict(values[2]))
            case "RegisterMachine":
                if values[0] in self.machines:
                    return Message.new_error(call, f"{MACHINED}.MachineExists", "it is there")
                self.machines[values[0]] = tuple(values)
                return Message.new_method_return(call, "o", ["/machine"])
            case "UnregisterMachine":
                if self.machines.pop(values[0], None) is None:
                    return Message.new_error(call, f"{MACHINED}.NoSuchMachine", "it is not there")
                return Message.new_method_return(call)
            case "ListMachines":
                rows = [[name, "vm", kept[2], "/machine"] for name, kept in self.machines.items()]
                return Message.new_method_return(call, "a(ssso)", [rows])
            case _:
                return Message.new_method_return(call)

    def _start(self, call: Any, unit: str, properties: dict[str, Any]) -> Any:
        from dbus_fast import Message

        for name in properties:
            if name in self.unknown:
                told = f"Cannot set property {name}, or unknown property."
                return Message.new_error(call, "org.freedesktop.DBus.Error.PropertyReadOnly", told)
        if self.lingering:
            self.lingering -= 1
            return Message.new_error(call, f"{SYSTEMD}.UnitExists", f"Unit {unit} was already loaded.")
        self.scopes[unit] = properties
        job = f"/org/freedesktop/systemd1/job/{len(self.asked)}"
        if not self.silent:
            self.client._loop.call_soon(self._removed, job, unit)
        return Message.new_method_return(call, "o", [job])

    def _removed(self, job: str, unit: str) -> None:
        self._tell(
            None,
            "/org/freedesktop/systemd1",
            f"{SYSTEMD}.Manager",
            "JobRemoved",
            "uoss",
            [1, job, unit, self.result],
        )

    def want_stopped(self, path: str, controller: str) -> None:
        """Ask a scope's controller to stop it."""
        self._tell(controller, path, f"{SYSTEMD}.Scope", "RequestStop", "", [])

    def _tell(
        self, to: str | None, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> None:
        from dbus_fast import Message, MessageType

        self.client.send(
            Message(
                message_type=MessageType.SIGNAL,
                destination=to,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )


@contextlib.asynccontextmanager
async def fake_systemd(bus: MessageBus, *, machined: bool = True) -> AsyncIterator[FakeSystemd]:
    """Both of them on a bus, or systemd alone."""
    fake = FakeSystemd()
    async with service(bus, SYSTEMD, fake.answer) as fake.client:
        if machined:
            await fake.client.request_name(MACHINED)
        yield fake

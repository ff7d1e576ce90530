"""The names in QMP's schema, out of ``query-qmp-schema``. Pure.

The schema has numbers in the place of the names of types, so a type is found by where it is used, from a command
on: ``blockdev-add`` is what the command takes, ``blockdev-add.driver`` the type of a member, ``blockdev-add:file``
the members under that value of the union's tag, ``query-display-options=`` what the command returns. ``TYPES`` says
where the types are that command lines depend on, under the names that they have in QEMU's documentation. Others can
be asked for by the place itself: every union that a command takes is written down with all its variants.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TYPES: Final[Mapping[str, str]] = {
    "BlockdevDriver": "blockdev-add.driver",
    "BlockdevAioOptions": "blockdev-add:file.aio",
    "BlockdevDetectZeroesOptions": "blockdev-add.detect-zeroes",
    "BlockdevDiscardOptions": "blockdev-add.discard",
    "BlockdevOptionsFile": "blockdev-add:file",
    "BlockdevOptionsNbd": "blockdev-add:nbd",
    "BlockdevOptionsQcow2": "blockdev-add:qcow2",
    "BlockdevOptionsRaw": "blockdev-add:raw",
    "BlockdevOptionsThrottle": "blockdev-add:throttle",
    "ObjectType": "object-add.qom-type",
    "IothreadProperties": "object-add:iothread",
    "MemoryBackendFileProperties": "object-add:memory-backend-file",
    "MemoryBackendMemfdProperties": "object-add:memory-backend-memfd",
    "MemoryBackendProperties": "object-add:memory-backend-ram",
    "SecretProperties": "object-add:secret",
    "ThrottleGroupProperties": "object-add:throttle-group",
    "TlsCredsX509Properties": "object-add:tls-creds-x509",
    "NetClientDriver": "netdev_add.type",
    "NetdevBridgeOptions": "netdev_add:bridge",
    "NetdevDgramOptions": "netdev_add:dgram",
    "NetdevPasstOptions": "netdev_add:passt",
    "NetdevSocketOptions": "netdev_add:socket",
    "NetdevStreamOptions": "netdev_add:stream",
    "NetdevTapOptions": "netdev_add:tap",
    "NetdevUserOptions": "netdev_add:user",
    "NetdevVhostUserOptions": "netdev_add:vhost-user",
    "ChardevBackendKind": "chardev-add.backend.type",
    "ChardevSocket": "chardev-add.backend:socket.data",
    "DisplayType": "query-display-options=.type",
    "DisplayOptions": "query-display-options=",
    "AudiodevDriver": "query-audiodevs=.driver",
    "RebootAction": "set-action.reboot",
    "ShutdownAction": "set-action.shutdown",
    "PanicAction": "set-action.panic",
    "WatchdogAction": "set-action.watchdog",
    "ImageFormat": "screendump.format",
    "MigrationCapability": "migrate-set-capabilities.capabilities.capability",
}
"""Types by their documented names, and where they are."""
COMMANDS: Final = "commands"
EVENTS: Final = "events"
"""Under these names stand all commands and all events."""

_STEP: Final = re.compile(r"(=|[.:][A-Za-z0-9_-]+)")
_UNIONS: Final = ("blockdev-add", "object-add", "netdev_add")


class Member(msgspec.Struct, frozen=True):
    """A member of an object, or with the name alone a value of an enumeration."""

    name: str = ""
    """Empty in an alternate."""
    type: str = ""


class Variant(msgspec.Struct, frozen=True):
    """The members that an object has under one value of its tag."""

    case: str
    type: str


class Entity(msgspec.Struct, frozen=True, rename="kebab"):
    """An element of the schema: ``SchemaInfo`` of QEMU's ``qapi/introspect.json``."""

    name: str
    meta_type: str
    members: tuple[Member | str, ...] = ()
    """Of an object, an alternate or, since 6.2, an enumeration."""
    values: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    element_type: str = ""
    arg_type: str = ""
    ret_type: str = ""


def digest(entities: Iterable[Entity]) -> dict[str, frozenset[str]]:
    """The members of all types that have a name here; a type that this QEMU lacks is left out."""
    schema = Schema(entities)
    found = {name: schema.names(place) for name, place in TYPES.items()}
    for command in _UNIONS:
        for case in schema.cases(command):
            found[f"{command}:{case}"] = schema.names(f"{command}:{case}")
    found[COMMANDS], found[EVENTS] = schema.of_kind("command"), schema.of_kind("event")
    return {name: names for name, names in found.items() if names}


class Schema:
    """The schema, to be walked."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._entities = {entity.name: entity for entity in entities}

    def of_kind(self, meta_type: str) -> frozenset[str]:
        """The names of all entities of one kind."""
        return frozenset(name for name, entity in self._entities.items() if entity.meta_type == meta_type)

    def cases(self, place: str) -> list[str]:
        """The variants of the union at a place."""
        return [variant.case for entity in self._at(place) for variant in entity.variants]

    def names(self, place: str) -> frozenset[str]:
        """The members or values at a place; none if there is no such place in this schema."""
        return frozenset(name for entity in self._at(place) for name in _names(entity))

    def _at(self, place: str) -> list[Entity]:
        """The entities at a place: an object may be made of two, its base and a variant."""
        command, *steps = (part for part in _STEP.split(place) if part)
        returned = steps[:1] == ["="]
        start = self._entities.get(command)
        here = self._types([] if start is None else [start.ret_type if returned else start.arg_type])
        for step in steps[returned:]:
            here = self._types(self._step(here, step[0], step[1:]))
        return here

    def _step(self, here: list[Entity], kind: str, name: str) -> Iterator[str]:
        for entity in here:
            if kind == ":":
                variants = [variant.type for variant in entity.variants if variant.case == name]
                yield from [entity.name, *variants] if variants else []
            else:
                yield from (
                    member.type
                    for member in entity.members
                    if isinstance(member, Member) and member.name == name
                )

    def _types(self, names: Iterable[str]) -> list[Entity]:
        """The entities of these names; of an array, its element."""
        found = [self._entities[name] for name in names if name in self._entities]
        return [
            self._entities.get(entity.element_type, entity) if entity.meta_type == "array" else entity
            for entity in found
        ]


def _names(entity: Entity) -> Iterator[str]:
    yield from entity.values
    for member in entity.members:
        name = member if isinstance(member, str) else member.name
        if name:
            yield name

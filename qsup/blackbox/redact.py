"""Secrets in command lines and QMP messages, which only their form gives away. Pure.

A guest file's own secrets are known by their declarations; here is the rest: what an operator has passed to QEMU as
it is, or typed into a guest. In doubt a word is removed, for a bundle is meant to be handed on.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from qsup.spec.secrets import REMOVED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAMES: Final = "password|passwd|passphrase|cookie|secret|data"
"""Keys whose values are secret if they are texts; ``data`` is what an object of type ``secret`` holds."""


# Of these a hostile QEMU chooses the text, so each must take time in proportion to it: hence the possessive forms.
def _member(escapes: int) -> re.Pattern[str]:
    """A member of a JSON object, in a text where so many backslashes stand before each of its quotes."""
    step, quote = rf"\\{{{escapes + 1}}}", rf'\\{{{escapes}}}"'
    escaped = rf"{step}(?:{step}|{quote}|[^\\])"
    return re.compile(
        rf"(?<!\\)({quote}(?:[A-Za-z0-9_.-]+\.)?(?:{_NAMES}){quote}\s*+:\s*+{quote})"
        rf"(?:{escaped}|(?!{quote})(?:\\.|[^\\]))*+",
        re.DOTALL,
    )


_MEMBERS: Final = tuple(_member(escapes) for escapes in (0, 1, 3))
"""JSON, and JSON as a string in JSON: QEMU tells of images by names that are JSON themselves."""
_PAIR: Final = re.compile(
    rf"((?:^|,)(?:[A-Za-z0-9_-]++\.)*+(?:{_NAMES})=)(?!(?:on|off)(?:,|$))(?:[^,]|,,)++", re.DOTALL
)
_USERINFO: Final = re.compile(r'(://[^/@:\s"\\]{0,256}+:)[^/@\s"\\]*+@')
_CREDENTIAL: Final = re.compile(
    r'(io\.systemd\.credential(?:\.binary)?:[^=,"\\\s]{0,80}+=|systemd\.set_credential(?:_binary)?=[^:"\\\s]{0,80}+:)'
    r'[^,"\\\s]*+'
)
_FIRMWARE_FILE: Final = re.compile(r"((?:^|,)string=)(?:[^,]|,,)*+")
_CREDENTIAL_FILE: Final = "opt/io.systemd.credentials/"

_HINTS: Final = (b"pass", b"secret", b"cookie", b'data": "', b'data":"', b"data\\", b"://", b"credential")
"""Without one of these, none of the expressions that messages are searched with can match."""

SHORTEST: Final = 6
"""Characters of a secret that is looked for in what the guest has printed."""
TYPED: Final = frozenset({"send-key", "input-send-event", "qom-set", "human-monitor-command"})
"""The QMP commands whose arguments may be secret without being called so: see :func:`arguments`."""
_TYPED_MONITOR: Final = frozenset({"set_password", "change", "sendkey", "object_add"})


def word(text: str) -> str:
    """A word of a command line, or a string of a guest file."""
    if _CREDENTIAL_FILE in text:
        text = _FIRMWARE_FILE.sub(rf"\1{REMOVED}", text)
    return _PAIR.sub(rf"\1{REMOVED}", _quoted(text))


def message(data: bytes) -> bytes:
    """A QMP message, or its beginning, as it is on the wire."""
    for hint in _HINTS:
        if hint in data:
            return _quoted(data.decode("latin-1")).encode("latin-1")
    return data


def _quoted(text: str) -> str:
    for member in _MEMBERS:
        text = member.sub(rf"\1{REMOVED}", text)
    text = _USERINFO.sub(rf"\1{REMOVED}@", text)
    return _CREDENTIAL.sub(rf"\1{REMOVED}", text)


def arguments(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one of the commands ``TYPED``, without what was typed: keys, values of secret properties."""
    removed = dict.fromkeys({"keys", "events"} & given.keys(), REMOVED)
    if command == "qom-set" and is_secret_property(given):
        removed["value"] = REMOVED
    if command == "human-monitor-command":
        first = str(given.get("command-line", "")).split(maxsplit=1)[:1]
        if not _TYPED_MONITOR.isdisjoint(first):
            removed["command-line"] = f"{first[0]} {REMOVED}"
    return {**given, **removed}


def is_secret_property(given: Mapping[str, Any]) -> bool:
    """Whether ``qom-get`` or ``qom-set`` with these arguments is about a secret."""
    return re.fullmatch(_NAMES, str(given.get("property"))) is not None


class Redaction:
    """Removes the secrets that are known of one guest, wherever they have come to stand."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # A console shows a text of several lines with other line ends, JSON with escapes.
        lines = {line for secret in secrets for line in (secret, *secret.splitlines())}
        # What is shorter is no secret, and would be found everywhere.
        known = {form for line in lines if len(line) >= SHORTEST for form in (line, json.dumps(line)[1:-1])}
        self._known = sorted(known, key=len, reverse=True)

    def data(self, data: bytes) -> bytes:
        """Bytes without them."""
        for secret in self._known:
            data = data.replace(secret.encode(), REMOVED.encode())
        return data

    def text(self, text: str) -> str:
        """A text without them, which can be written whatever it holds: halves of surrogate pairs become escapes."""
        text = text.encode(errors="backslashreplace").decode()
        for secret in self._known:
            text = text.replace(secret, REMOVED)
        return text

    def word(self, text: str) -> str:
        """A text without them, and without what only its form gives away."""
        return word(self.text(text))

    def value(self, value: Any) -> Any:
        """A value of JSON with :meth:`word` done to all its strings."""
        if isinstance(value, str):
            return self.word(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(inner) for key, inner in value.items()}
        return [self.value(inner) for inner in value] if isinstance(value, list | tuple) else value

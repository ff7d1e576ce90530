"""Specifiers: what stands for the guest's name in the strings of its files, in systemd's manner. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from qsup.spec.problem import shown

if TYPE_CHECKING:
    from qsup.spec.base import Finding, Path

SPECIFIERS: Final = {
    "%i": "the instance: what follows the `@` of `web@1`; an error in a guest that is no instance",
    "%p": "the prefix: what stands before the `@`, or the whole name where there is none",
    "%n": "the guest's name",
    "%%": "a percent sign",
}
"""What each stands for; a subset of systemd's own, see systemd.unit(5)."""
_SPECIFIER: Final = re.compile(r"%(.?)", re.DOTALL)


class _WrongSpecifierError(Exception):
    """A specifier that cannot be resolved; the message says why."""


def instance_of(name: str) -> tuple[str, str | None]:
    """A guest's prefix and its instance, which is None for a guest that has no template."""
    prefix, at, instance = name.partition("@")
    return prefix, instance if at else None


def resolve(value: Any, name: str, path: Path = ()) -> tuple[Any, list[Finding]]:
    """The value with every specifier in its strings resolved for this guest, and what is wrong with those left."""
    if isinstance(value, str):
        if "%" not in value:
            return value, []
        try:
            return _resolved(value, name), []
        except _WrongSpecifierError as error:
            return value, [(path, str(error))]
    findings: list[Finding] = []
    if isinstance(value, dict):
        table = {}
        for key, inner in value.items():
            table[key], wrong = resolve(inner, name, (*path, key))
            findings += wrong
        return table, findings
    if isinstance(value, list):
        array = []
        for number, inner in enumerate(value):
            item, wrong = resolve(inner, name, (*path, number))
            array.append(item)
            findings += wrong
        return array, findings
    return value, findings


def literal(value: Any) -> Any:
    """The value so written that it resolves to itself: every percent sign doubled."""
    if isinstance(value, str):
        return value.replace("%", "%%")
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    return [literal(inner) for inner in value] if isinstance(value, list) else value


def _resolved(text: str, name: str) -> str:
    prefix, instance = instance_of(name)
    meanings = {"i": instance, "p": prefix, "n": name, "%": "%"}

    def meaning(match: re.Match[str]) -> str:
        if match[1] not in meanings:
            known = ", ".join(SPECIFIERS)
            raise _WrongSpecifierError(
                f"{shown(match[0])} is no specifier; known are {known}; a percent sign itself is %%"
            )
        found = meanings[match[1]]
        if found is None:
            raise _WrongSpecifierError(
                f'"%i" is the instance of a template, and {shown(name)} is none: there is no @ in its name'
            )
        return found

    return _SPECIFIER.sub(meaning, text)

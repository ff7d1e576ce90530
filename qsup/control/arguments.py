"""Checks the arguments of a request against its command's declaration, and complains as QEMU does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from qsup.control.commands import COMMANDS, Command
from qsup.control.protocol import CommandNotFound
from qsup.errors import QsupError

if TYPE_CHECKING:
    from qsup.control.protocol import Request

_WHERE: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.(?P<parameter>[a-z-]+)(?P<within>.*)`)?", re.DOTALL)
_TYPE: Final = re.compile(r"Expected `(?P<expected>[a-z|, ]+)`, got `[a-z]+`")
_QMP_TYPES: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "object": "object",
}


def parse(request: Request) -> Command:
    """The request as its command's type; raise CommandNotFound or an error that names the parameter."""
    declaration = COMMANDS.get(request.execute)
    if declaration is None:
        raise CommandNotFound(f"The command {request.execute[:80]} has not been found")
    fields = msgspec.structs.fields(declaration)
    for given in request.arguments:
        if all(field.encode_name != given for field in fields):
            raise QsupError(f"Parameter '{given[:80]}' is unexpected")
    for field in fields:
        if field.required and field.encode_name not in request.arguments:
            raise QsupError(f"Parameter '{field.encode_name}' is missing")
    try:
        return msgspec.convert(request.arguments, declaration)
    except msgspec.ValidationError as error:
        raise QsupError(_in_the_manner_of_qmp(str(error))) from error


def _in_the_manner_of_qmp(message: str) -> str:
    where = _WHERE.fullmatch(message)
    if where is None or where["parameter"] is None:
        return message
    mismatch = _TYPE.fullmatch(where["what"])
    if mismatch is None:
        return f"Invalid parameter '{where['parameter']}': {where['what'].replace('`', '')}"
    expected = " or ".join(_qmp_type(name) for name in mismatch["expected"].split(" | ") if name != "null")
    return f"Invalid parameter type for '{where['parameter']}{where['within']}', expected: {expected}"


def _qmp_type(name: str) -> str:
    return _QMP_TYPES.get(name, name)

"""An event in words. Imports nothing, so that the command can use it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def told(kind: str, data: Mapping[str, Any]) -> str:
    """What happened, without when and to which guest; events of kinds that are not known here as well."""
    match kind:
        case "GUEST_PHASE":
            reason = f": {data['reason']}" if data.get("reason") else ""
            return f"{data.get('phase')} (was {data.get('was')}){reason}"
        case "GUEST_ENDED":
            status = f" ({data['status']})" if data.get("status") else ""
            return f"{data.get('cause')}{status}: {data.get('detail')}; {data.get('decision')}"
        case "GUEST_FOUND":
            ready = ", ready" if data.get("ready") else ""
            adopted = f", adopted with pid {data.get('pid')}" if data.get("adopted") else ""
            return f"{data.get('phase')}{ready}{adopted}; wanted {data.get('wanted')}"
        case "COMMAND":
            return f"{data.get('command')}, given by {data.get('by')}"
        case _ if data.keys() - {"name"} == {"message"}:
            return str(data["message"])
        case _:
            return "  ".join(
                f"{key}={_value(value)}"
                for key, value in data.items()
                if key != "name" and value not in (None, [], ())
            )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

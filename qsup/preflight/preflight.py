"""What stands against a start on this host, seen before QEMU is bothered: each finding says what to do.

QEMU would find most of it as well, later and in its own words; some of it (an image of another format) it would
not find at all. Each family of tables has its own function here, which looks and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsup.preflight import (
    board,
    command,
    devices,
    files,
    firmware,
    helpers,
    images,
    limits,
    memory,
    network,
    places,
    screen,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsup.preflight.obstacle import Obstacle, Plan

FAMILIES: Final[tuple[Callable[[Plan], Iterator[Obstacle]], ...]] = (
    board.obstacles,
    firmware.obstacles,
    files.obstacles,
    memory.obstacles,
    limits.obstacles,
    images.obstacles,
    network.obstacles,
    devices.obstacles,
    places.obstacles,
    screen.obstacles,
    helpers.obstacles,
)


def preflight(plan: Plan) -> list[Obstacle]:
    """All obstacles of a start, those of the machine as a whole first."""
    found = [obstacle for family in FAMILIES for obstacle in family(plan)]
    told = {obstacle.path[:2] for obstacle in found if obstacle.fatal}
    # A table of which a family has said what is wrong needs not hear it again in QEMU's terms.
    found += [more for more in command.obstacles(plan) if more.path[:2] not in told]
    return found

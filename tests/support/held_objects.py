"""The processes that hold a cluster's objects while an action runs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.ray_private import referenced_objects


@dataclass
class Held:
    """An object that appeared during an action, and the processes that knew of it, by name.

    pinned: those that had its bytes as an argument or a value. referred: those with a reference
    alone. size: in bytes, -1 if not known.
    """

    name: str
    size: int = -1
    referred: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)


async def objects_during(
    action: Callable[[], Awaitable[Any]], name_of: Callable[[int], str]
) -> list[Held]:
    """The objects that appear while the action runs, the largest first.

    name_of: the name of a process by its id. Processes are asked as often as all of them answer.
    """
    before = {one.object_id for one in referenced_objects()}
    seen: dict[str, Held] = {}
    running = asyncio.ensure_future(action())
    while not running.done():
        for one in await asyncio.to_thread(referenced_objects):
            if one.object_id in before:
                continue
            held = seen.setdefault(one.object_id, Held(one.object_id))
            held.size = max(held.size, one.size)
            (held.pinned if one.pinned else held.referred).add(name_of(one.pid))
    await running
    return sorted(seen.values(), key=lambda held: -held.size)

"""One call for all who ask at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Whoever asks while the call is under way gets its answer; one who gives up stops nobody."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._under_way: asyncio.Task[T] | None = None

    async def answer(self) -> T:
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._call())
        return await asyncio.shield(self._under_way)

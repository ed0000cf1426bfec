"""The consumer of an async stream, as ``interpreter`` has one for the others."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from session_aware import PropagationError
from tests.properties.interpreter import BoomError
from tests.properties.programs import Finish, Stream
from tests.properties.stage import Stage

__all__ = ["Reader"]


class Reader:
    """The consumer of one stream."""

    def __init__(self, stage: Stage, stream: Stream, call: Callable[[], AsyncGenerator[int, int]]) -> None:
        self._call = call
        self._items: AsyncGenerator[int, int] | None = None
        self._stage = stage
        self._stream = stream
        self._taken = 0
        self._is_over = False

    async def advance(self) -> None:
        """Take the next item, unless there is none. A refusal may come with the call or with the first item."""
        if self._is_over:
            return
        if self._items is None:
            self._items = self._call()
        await self._take(self._items.asend(self._taken) if self._taken else anext(self._items))

    async def finish(self) -> None:
        """Do what the program says with the rest."""
        match self._stream.finish:
            case Finish.EXHAUST:
                while not self._is_over:
                    await self.advance()
            case Finish.THROW if self._items is not None and not self._is_over:
                error = BoomError()
                self._stage.errors.append(error)
                await self._take(self._items.athrow(error))
            case _:
                await self.close()

    async def close(self) -> None:
        """Close it; nothing has happened if it was never started."""
        if self._items is not None:
            await self._items.aclose()
        else:
            with contextlib.suppress(PropagationError):
                await self._call().aclose()

    async def _take(self, step: Awaitable[int]) -> None:
        try:
            item = await step
        except StopAsyncIteration:
            self._is_over = True
            self._stage.note("end")
        else:
            self._taken += 1
            self._stage.note("item", item)

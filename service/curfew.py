"""The end of all solves at once: when the service ends, each comes to its best path so far."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TimeIsUp(Exception):
    """What runs has had its time, or the bell has rung."""


class Curfew:
    def __init__(self) -> None:
        self.rung = False
        self._limits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def until(self, seconds: float) -> AsyncIterator[None]:
        """Raises `TimeIsUp` behind what had to be ended."""
        limit = asyncio.timeout(0 if self.rung else seconds)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError as error:
            if not limit.expired():  # it is the work's own
                raise
            raise TimeIsUp from error
        finally:
            self._limits.discard(limit)

    def ring(self) -> None:
        """End all that runs, and whatever would begin."""
        self.rung = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)

"""Keeps runs without anybody waiting: a bounded queue, and a task that empties it into the store.

A store that does not answer is tried again until the queue is full; what finds no room then is
lost, and counted. That is logged once, and once more when it is over; `trouble` says it meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from itertools import islice

from service.errors import TracesUnavailable
from service.solver import Keep, Loss, Report
from service.traces.retention import Pace, Retention
from service.traces.store import Store, Unwritable
from service.traces.trace import Origin, Trace
from service.traces.tracing import traced

log = logging.getLogger(__name__)

WAITING = 1000  # runs in the queue at the most
AT_ONCE = 64  # written in one transaction
WRITTEN_WITHIN = 20.0  # seconds; a store that takes longer does not answer
AGAIN = 1.0  # seconds until it is asked again
READ_WITHIN = 5.0  # seconds a reader waits for what was kept before it came
CLOSED_WITHIN = 5.0  # seconds for what is queued at the end


class Keeper:
    def __init__(self, store: Store, retention: Retention, *, content: bool) -> None:
        self.store = store
        self.trouble: str | None = None
        """What keeps it from keeping, in a sentence."""
        self.lost = 0
        self._content = content
        self._retention = retention
        self._pace = Pace(retention)
        self._waiting: deque[tuple[Origin, Report | Loss]] = deque()
        self._came = asyncio.Event()
        self._done = asyncio.Condition()
        self._taken = self._over = 0
        self._task: asyncio.Task[None] | None = None

    def keeping(self, origin: Origin) -> Keep:
        """What takes the runs of this origin; it neither waits nor raises."""

        def keep(run: Report | Loss) -> None:
            if len(self._waiting) >= WAITING:
                self._lose(1, "the queue is full")
                return
            self._waiting.append((origin, run))
            self._taken += 1
            self._came.set()

        return keep

    async def settled(self, within: float = READ_WITHIN) -> Store:
        """The store, once what was kept before is in it; or after so many seconds, whatever is.

        While it cannot be written nobody waits for it.
        """
        if self.trouble is None:
            await self._reached(self._taken, within)
        return self.store

    def start(self) -> None:
        self._task = asyncio.create_task(self._work())
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Write what is queued, or give it up; then close the store."""
        await self._reached(self._taken, CLOSED_WITHIN)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._waiting:
            self._lose(len(self._waiting), "the service ended")
        await self.store.close()

    async def _reached(self, count: int, within: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within), self._done:
                await self._done.wait_for(lambda: self._over >= count)

    async def _work(self) -> None:
        await self._sweep()
        while True:
            await self._came.wait()
            done = await self._write(list(islice(self._waiting, AT_ONCE)))
            for _ in range(done):
                self._waiting.popleft()
            if not self._waiting:
                self._came.clear()
            async with self._done:
                self._over += done
                self._done.notify_all()
            if not done:
                await asyncio.sleep(AGAIN)

    async def _write(self, batch: list[tuple[Origin, Report | Loss]]) -> int:
        """How many of the batch are done with, written or lost."""
        try:
            async with asyncio.timeout(WRITTEN_WITHIN):
                size = await self.store.add([await self._trace(*each) for each in batch])
        except TracesUnavailable as error:
            self._fail(error.__cause__ or error)
            return 0
        except TimeoutError:
            self._fail("the store takes too long")
            return 0
        except (Unwritable, ValueError) as error:
            if len(batch) > 1:  # alone, so that the others are not lost with it
                return await self._write(batch[:1])
            self._lose(1, type(error.__cause__ or error).__name__)  # its words may be a caller's
            return 1
        self._recover()
        if self._pace.wrote(len(batch), size):
            await self._sweep()
        return len(batch)

    async def _sweep(self) -> None:
        try:
            await self.store.sweep(self._retention)
        except TracesUnavailable as error:
            self._fail(error.__cause__ or error)
        self._pace.swept()

    async def _trace(self, origin: Origin, run: Report | Loss) -> Trace:
        await asyncio.sleep(0)  # one at a time: solves go on in between
        trace = traced(run, origin)
        return trace if self._content else trace.without_content()

    def _lose(self, count: int, why: object) -> None:
        self.lost += count
        self._fail(why)

    def _fail(self, why: object) -> None:
        if self.trouble is None:
            reason = str(why).partition("\n")[0]  # a database's next lines may show the row
            log.error("traces are not being kept: %s", reason)
        self.trouble = "The store of traces cannot be written; the service's log says why."

    def _recover(self) -> None:
        if self.trouble is not None:
            log.error("traces are kept again; %d were lost", self.lost)
        self.trouble, self.lost = None, 0

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():  # a defect
            self._fail(task.exception())

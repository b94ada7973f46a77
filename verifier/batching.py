"""A queue that is itself a Verifier: the paths of a call go in batches, so many paths at once.

First come, first served; the engine behind it batches what runs at once. A caller that went away
before its turn costs nothing, and one that leaves later stops its own batch and nobody else's.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from verifier.scoring import Aggregate, Chain, Meter, Verdict, VerifierBackend, checked, unmetered


class Batching:
    """Wraps a `VerifierBackend`; at most `rows` paths are with it at once."""

    def __init__(self, backend: VerifierBackend, rows: int = 8) -> None:
        self.name, self.heeds = backend.name, backend.heeds
        self.threshold = backend.threshold
        self.aggregate: Aggregate = backend.aggregate
        self._backend = backend
        self._rows = rows
        self._turn = asyncio.Lock()
        self._free = asyncio.Semaphore(rows)

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for start in range(0, len(chains), self._rows):
            batch = chains[start : start + self._rows]
            async with self._room(len(batch)):
                verdicts += checked(batch, await self._backend.score(batch, meter))
        return verdicts

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return await self._backend.measure(chains)

    async def check(self) -> None:
        await self._backend.check()

    async def close(self) -> None:
        await self._backend.close()

    @asynccontextmanager
    async def _room(self, rows: int) -> AsyncIterator[None]:
        """Room for so many paths; who came first takes all of its own first."""
        taken = 0
        try:
            async with self._turn:
                while taken < rows:
                    await self._free.acquire()
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._free.release()

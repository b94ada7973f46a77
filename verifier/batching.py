"""A queue that is itself a Verifier: paths of many requests become batches of one.

First in, first out. A batch is filled while the one before it runs, so there is no timer to tune.
A caller that went away before its paths were reached costs nothing; one that leaves later leaves
its batch running for the others, and cancels it when it was the last.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from verifier.scoring import Chain, Verdict, VerifierBackend, VerifierError, checked


@dataclass(frozen=True, slots=True)
class Row:
    chain: Chain
    verdict: asyncio.Future[Verdict]


class Batching:
    """Wraps a `VerifierBackend`; at most `rows` paths go to it at once."""

    def __init__(self, backend: VerifierBackend, rows: int = 8) -> None:
        self.name, self.threshold = backend.name, backend.threshold
        self._backend = backend
        self._rows = rows
        self._waiting: deque[Row] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def score(self, chains: Sequence[Chain]) -> list[Verdict]:
        loop = asyncio.get_running_loop()
        rows = [Row(chain, loop.create_future()) for chain in chains]
        self._waiting.extend(rows)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return list(await asyncio.gather(*(row.verdict for row in rows)))

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return await self._backend.measure(chains)

    async def check(self) -> None:
        await self._backend.check()

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        await self._backend.close()

    async def _work(self) -> None:
        while batch := self._next_batch():
            await self._run(batch)

    async def _run(self, batch: list[Row]) -> None:
        chains = [row.chain for row in batch]
        call = asyncio.ensure_future(self._backend.score(chains))

        def leave(_: asyncio.Future[Verdict]) -> None:
            if all(row.verdict.cancelled() for row in batch):
                call.cancel()

        for row in batch:
            row.verdict.add_done_callback(leave)
        try:
            await asyncio.wait([call])
        finally:
            call.cancel()
        if call.cancelled():
            for row in batch:
                row.verdict.cancel()
        else:
            _answer(batch, chains, call)

    def _next_batch(self) -> list[Row]:
        batch: list[Row] = []
        while self._waiting and len(batch) < self._rows:
            row = self._waiting.popleft()
            if not row.verdict.done():
                batch.append(row)
        return batch


def _answer(batch: list[Row], chains: list[Chain], call: asyncio.Future[list[Verdict]]) -> None:
    try:
        verdicts = checked(chains, call.result())
    except VerifierError as error:
        for row in batch:
            if not row.verdict.done():
                row.verdict.set_exception(error)
        return
    for row, verdict in zip(batch, verdicts, strict=True):
        if not row.verdict.done():
            row.verdict.set_result(verdict)

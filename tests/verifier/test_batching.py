"""The queue: many callers, few calls; a caller that left costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from verifier.batching import Batching
from verifier.scoring import Chain, Score, Verdict, VerifierError


class SlowVerifier:
    """Takes a moment a batch, gives each step the length of its text as a percentage."""

    name, threshold = "slow", Score(0.4, 0.6)

    def __init__(self, error: VerifierError | None = None) -> None:
        self.batches: list[int] = []
        self.finished = 0
        self._error = error

    async def score(self, chains: Sequence[Chain]) -> list[Verdict]:
        self.batches.append(len(chains))
        await asyncio.sleep(0.02)
        if self._error is not None:
            raise self._error
        self.finished += 1
        return [Verdict(tuple(_score(step) for step in chain.steps)) for chain in chains]

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [1] * len(chains)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def _score(step: str) -> Score:
    return Score(len(step) / 100, len(step) / 100)


def chain(length: int) -> Chain:
    return Chain("q", ("x" * length,))


def test_every_caller_gets_its_own_verdicts_and_waiting_ones_share_a_batch() -> None:
    slow = SlowVerifier()

    async def main() -> list[list[Verdict]]:
        queue = Batching(slow, rows=4)
        return await asyncio.gather(*(queue.score([chain(k), chain(k + 1)]) for k in range(6)))

    verdicts = asyncio.run(main())

    assert [(k / 100, (k + 1) / 100) for k in range(6)] == [
        tuple(verdict.scores[0].correct for verdict in each) for each in verdicts
    ]
    assert slow.batches == [4, 4, 4]


def test_a_caller_that_left_before_its_turn_costs_nothing() -> None:
    slow = SlowVerifier()

    async def main() -> None:
        queue = Batching(slow, rows=1)
        first = asyncio.ensure_future(queue.score([chain(1)]))
        second = asyncio.ensure_future(queue.score([chain(2)]))
        await asyncio.sleep(0.01)
        second.cancel()
        await first
        with suppress(asyncio.CancelledError):
            await second
        await asyncio.sleep(0.03)

    asyncio.run(main())

    assert slow.batches == [1]


def test_a_batch_runs_on_for_the_others_and_stops_when_the_last_has_left() -> None:
    slow = SlowVerifier()

    async def leave(leavers: int) -> int:
        before = slow.finished
        queue = Batching(slow)
        callers = [asyncio.ensure_future(queue.score([chain(k)])) for k in range(2)]
        await asyncio.sleep(0.01)
        for caller in callers[:leavers]:
            caller.cancel()
        await asyncio.wait(callers)
        await asyncio.sleep(0.03)
        return slow.finished - before

    assert asyncio.run(leave(1)) == 1
    assert asyncio.run(leave(2)) == 0


def test_a_failure_reaches_everyone_in_the_batch_and_the_queue_goes_on() -> None:
    slow = SlowVerifier(VerifierError("down"))

    async def main() -> None:
        queue = Batching(slow)
        for _ in range(2):
            with pytest.raises(VerifierError, match="down"):
                await queue.score([chain(1)])

    asyncio.run(main())

    assert slow.batches == [1, 1]


def test_the_queue_goes_by_the_name_and_the_threshold_of_what_it_wraps() -> None:
    slow = SlowVerifier()

    queue = Batching(slow)

    assert (slow.name, slow.threshold) == (queue.name, queue.threshold)

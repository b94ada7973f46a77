"""The queue: so many paths at once, first come first served; a caller that left costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from verifier.batching import Batching
from verifier.scoring import Aggregate, Chain, Cost, Meter, Score, Verdict, VerifierError, unmetered


class SlowVerifier:
    """Takes a moment for each path of a batch, and counts how many paths are with it at once.

    It gives each step the length of its text as a percentage.
    """

    name, threshold, heeds = "slow", Score(0.4, 0.6), True
    aggregate: Aggregate = "min"

    def __init__(self, error: VerifierError | None = None) -> None:
        self.batches: list[int] = []
        self.at_once = self.most = self.finished = 0
        self._error = error

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        self.batches.append(len(chains))
        self.at_once += len(chains)
        self.most = max(self.most, self.at_once)
        try:
            for _ in chains:
                await asyncio.sleep(0.02)
                meter(Cost(5, 1))
        finally:
            self.at_once -= len(chains)
        if self._error is not None:
            raise self._error
        self.finished += 1
        return [Verdict((_score(chain.steps[0]),), Cost(5, 1)) for chain in chains]

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


def test_every_caller_gets_its_own_verdicts_and_no_more_paths_are_scored_at_once() -> None:
    slow = SlowVerifier()

    async def main() -> list[list[Verdict]]:
        queue = Batching(slow, rows=5)
        return await asyncio.gather(*(queue.score([chain(k), chain(k + 1)]) for k in range(6)))

    verdicts = asyncio.run(main())

    assert [(k / 100, (k + 1) / 100) for k in range(6)] == [
        tuple(verdict.scores[0].correct for verdict in each) for each in verdicts
    ]
    assert slow.most == 4


def test_the_paths_of_one_call_go_in_one_batch_as_far_as_there_is_room() -> None:
    slow = SlowVerifier()

    asyncio.run(Batching(slow, rows=8).score([chain(k) for k in range(11)]))

    assert slow.batches == [8, 3]


def test_a_large_call_is_not_overtaken_for_ever_by_small_ones() -> None:
    slow = SlowVerifier()

    async def main() -> None:
        queue = Batching(slow, rows=2)
        calls = [queue.score([chain(1)]), queue.score([chain(2), chain(3)])]
        await asyncio.gather(*calls, *(queue.score([chain(4)]) for _ in range(3)))

    asyncio.run(main())

    assert slow.batches[:2] == [1, 2]


def test_a_caller_that_left_before_its_turn_costs_nothing_and_its_room_is_given_back() -> None:
    slow = SlowVerifier()

    async def main() -> None:
        queue = Batching(slow, rows=2)
        first = asyncio.ensure_future(queue.score([chain(1)]))
        second = asyncio.ensure_future(queue.score([chain(2), chain(2)]))
        await asyncio.sleep(0.01)
        second.cancel()
        await first
        with suppress(asyncio.CancelledError):
            await second
        await queue.score([chain(3), chain(3)])

    asyncio.run(main())

    assert slow.batches == [1, 2]


def test_a_caller_that_leaves_stops_its_own_batch_alone_and_has_heard_what_it_cost() -> None:
    slow, heard = SlowVerifier(), list[Cost]()

    async def main() -> None:
        queue = Batching(slow)
        stays = asyncio.ensure_future(queue.score([chain(1), chain(1)]))
        leaves = asyncio.ensure_future(queue.score([chain(2)] * 5, heard.append))
        await asyncio.sleep(0.05)
        leaves.cancel()
        await asyncio.wait([stays, leaves])

    asyncio.run(main())

    assert slow.finished == 1
    assert 1 <= len(heard) < 5


def test_a_failure_reaches_its_caller_and_the_queue_goes_on() -> None:
    slow = SlowVerifier(VerifierError("down"))

    async def main() -> None:
        queue = Batching(slow, rows=1)
        for _ in range(2):
            with pytest.raises(VerifierError, match="down"):
                await queue.score([chain(1)])

    asyncio.run(main())

    assert slow.batches == [1, 1]


def test_the_queue_is_known_by_what_it_wraps() -> None:
    slow = SlowVerifier()

    queue = Batching(slow)

    assert (slow.name, slow.threshold, slow.heeds) == (queue.name, queue.threshold, queue.heeds)
    assert slow.aggregate == queue.aggregate

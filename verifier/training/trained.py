"""An adapter in torch as a verifier, before it is exported: many paths in one forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from verifier.scoring import EVEN, Aggregate, Chain, Cost, Meter, Score, Verdict, unmetered
from verifier.training.model import Model, Tokens, bins, pack

PACK = 512  # tokens


class Trained:
    """A `VerifierBackend`. Scores come as they are read: it is calibrated when it is exported."""

    threshold, heeds = EVEN, False
    aggregate: Aggregate = "last"

    def __init__(self, model: Model, name: str) -> None:
        self.name = f"torch:{name}"
        self._model = model
        self._one_at_a_time = asyncio.Lock()  # all cores are at work on one

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        async with self._one_at_a_time:
            verdicts = await asyncio.to_thread(self._score, chains)
        meter(sum((verdict.cost for verdict in verdicts), Cost()))
        return verdicts

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        tokens = [self._model.tokens(chain) for chain in chains]
        return [len(each.question) + len(each.path) for each in tokens]

    async def check(self) -> None:
        """It is in this process."""

    async def close(self) -> None:
        """Nothing is held but memory."""

    def _score(self, chains: Sequence[Chain]) -> list[Verdict]:
        paths = [self._model.tokens(chain) for chain in chains]
        return [
            verdict
            for numbers in bins(paths, PACK)
            for verdict in self._verdicts([paths[number] for number in numbers])
        ]

    def _verdicts(self, paths: list[Tokens]) -> list[Verdict]:
        import torch

        packed = pack(paths)
        with torch.no_grad():
            odds = self._model.logits(packed, self._model.lower(packed)).sigmoid().tolist()
        rows, verdicts = iter(odds), []
        for path in paths:
            scores = tuple(Score(*next(rows)) for _ in path.markers)
            cost = Cost(len(path.question) + len(path.path), 1)
            verdicts.append(Verdict(scores, cost))
        return verdicts

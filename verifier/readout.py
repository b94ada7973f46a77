"""A verifier read off next-token odds: P(one token) against P(another) after each step.

It works on any engine that returns log-probabilities. The queries of one path are asked in order
and each begins with the one before it, so with a prefix cache a path costs little more than one
prefill. What the model is shown is a `Layout`; a trained adapter and a prompt are two of them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from verifier import steps
from verifier.scoring import Chain, Cost, Score, Verdict

Pair = tuple[str, str]
"""A token that says yes and one that says no."""


@dataclass(frozen=True, slots=True)
class Query:
    """A conversation of two turns and the third as far as it is begun; the next token is read."""

    system: str
    user: str
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """For each pair P(yes) / (P(yes) + P(no)), and what it cost."""

    odds: tuple[float, ...]
    cost: Cost


class Reader(Protocol):
    """What an engine offers a verifier."""

    name: str

    async def read(self, query: Query, pairs: Sequence[Pair]) -> Reading:
        """Raises `VerifierError`."""
        ...

    async def weigh(self, query: Query) -> int:
        """Tokens of a query; never too few."""
        ...

    async def check(self) -> None:
        """Return if the engine answers; raise `VerifierError` if not."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Layout:
    """What the model is shown of the steps so far, and which tokens answer for which score."""

    query: Callable[[str, Sequence[str]], Query]
    correct: Pair
    value: Pair


MARKER = " ки"


def marked(question: str, so_far: Sequence[str]) -> Query:
    """The question, then every step with a marker behind it (after Math-Shepherd, 2312.08935)."""
    written = [f"{steps.label(k)} {steps.neutralise(s)}{MARKER}" for k, s in enumerate(so_far, 1)]
    return Query("", steps.neutralise(question), "\n".join(written))


MARKED = Layout(marked, correct=(" +", " -"), value=(" +", " -"))


class Readout:
    """A `VerifierBackend`: one reading a step."""

    def __init__(self, reader: Reader, layout: Layout, kind: str) -> None:
        self.name = f"{kind}:{reader.name}"
        self._reader = reader
        self._layout = layout
        self._pairs = list(dict.fromkeys((layout.correct, layout.value)))

    async def score(self, chains: Sequence[Chain]) -> list[Verdict]:
        try:
            async with asyncio.TaskGroup() as group:
                verdicts = [group.create_task(self._score(chain)) for chain in chains]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [verdict.result() for verdict in verdicts]

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        """Every query from scratch, and the token read: what it costs with nothing cached."""
        return [
            sum([await self._reader.weigh(query) + 1 for query in self._queries(chain)])
            for chain in chains
        ]

    async def check(self) -> None:
        await self._reader.check()

    async def close(self) -> None:
        await self._reader.close()

    def _queries(self, chain: Chain) -> list[Query]:
        ends = range(1, len(chain.steps) + 1)
        return [self._layout.query(chain.question, chain.steps[:end]) for end in ends]

    async def _score(self, chain: Chain) -> Verdict:
        scores, cost = [], Cost()
        for query in self._queries(chain):
            reading = await self._reader.read(query, self._pairs)
            odds = dict(zip(self._pairs, reading.odds, strict=True))
            scores.append(Score(odds[self._layout.correct], odds[self._layout.value]))
            cost += reading.cost
        return Verdict(tuple(scores), cost)

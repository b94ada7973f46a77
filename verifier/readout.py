"""A verifier read off next-token odds: P(one token) against P(another) after each step.

It works on any engine that returns log-probabilities. The queries of one path are read in order,
each beginning with the one before it, so with a prefix cache a path costs little more than one
prefill. What the model is shown is a `Layout`; a trained adapter and a prompt are two of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from verifier import steps
from verifier.calibration import Calibration
from verifier.scoring import (
    EVEN,
    Aggregate,
    Chain,
    Cost,
    Meter,
    PathTooLong,
    Score,
    Verdict,
    unmetered,
)
from verifier.together import together

Pair = tuple[str, str]
"""A token that says yes and one that says no."""


@dataclass(frozen=True, slots=True)
class Query:
    """A conversation of two turns and the third as far as it is begun; the next token is read.

    What callers and policies wrote in it has been neutralised. `session`, `salt`, `until`: its
    chain's.
    """

    system: str
    user: str
    begun: str = ""
    session: str = ""
    salt: str = ""
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Reading:
    """For each pair P(yes) / (P(yes) + P(no)), and what it cost."""

    odds: tuple[float, ...]
    cost: Cost


class Reader(Protocol):
    """What an engine offers a verifier."""

    @property
    def name(self) -> str: ...

    async def read(
        self, queries: Sequence[Query], pairs: Sequence[Pair], meter: Meter = unmetered
    ) -> list[Reading]:
        """One reading a query, in order; what one shares with the next is computed once.

        What the meter hears adds up to the readings' costs. Raises `VerifierError`, which is
        `PathTooLong` if there is one that the engine cannot read.
        """
        ...

    async def weigh(self, queries: Sequence[Query]) -> list[int]:
        """Tokens of each; never too few."""
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


def marked(question: str, so_far: Sequence[str]) -> Query:
    """What an adapter is trained on: the question, then every step with a marker behind it."""
    return Query("", steps.neutralise(question), steps.marked(so_far))


MARKED = Layout(marked, correct=(" +", " -"), value=(" good", " bad"))


class Readout:
    """A `VerifierBackend`: a reading, calibrated, for each step whose score is not known yet."""

    def __init__(
        self,
        reader: Reader,
        layout: Layout,
        kind: str,
        calibration: Calibration | None = None,
        threshold: Score = EVEN,
        aggregate: Aggregate = "last",
    ) -> None:
        self.name = f"{kind}:{reader.name}"
        self.threshold = threshold
        self.aggregate: Aggregate = aggregate
        self.heeds = calibration is not None and calibration.blend is not None
        self._reader = reader
        self._layout = layout
        self._calibration = calibration
        self._pairs = list(dict.fromkeys((layout.correct, layout.value)))

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        return await together(self._score(chain, meter) for chain in chains)

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        """Every query from scratch, and the token read: what it costs with nothing cached."""
        weights = [await self._reader.weigh(self._queries(chain)) for chain in chains]
        return [sum(each) + len(each) for each in weights]

    async def check(self) -> None:
        await self._reader.check()

    async def close(self) -> None:
        await self._reader.close()

    def _queries(self, chain: Chain) -> list[Query]:
        ends = range(len(chain.known) + 1, len(chain.steps) + 1)
        queries = (self._layout.query(chain.question, chain.steps[:end]) for end in ends)
        session, salt, until = chain.session, chain.salt, chain.until
        return [replace(query, session=session, salt=salt, until=until) for query in queries]

    async def _score(self, chain: Chain, meter: Meter) -> Verdict:
        spent = Cost()

        def record(cost: Cost) -> None:
            nonlocal spent
            spent += cost
            meter(cost)

        try:
            readings = await self._reader.read(self._queries(chain), self._pairs, record)
        except PathTooLong:
            return Verdict(chain.known, spent, cut=True)
        scores = tuple(
            self._score_of(reading, chain.certainty(steps))
            for steps, reading in enumerate(readings, len(chain.known) + 1)
        )
        return Verdict(chain.known + scores, spent)

    def _score_of(self, reading: Reading, certainty: float | None) -> Score:
        odds = dict(zip(self._pairs, reading.odds, strict=True))
        read = Score(odds[self._layout.correct], odds[self._layout.value])
        return self._calibration(read, certainty) if self._calibration else read

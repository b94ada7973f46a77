"""The Verifier protocol, and how the scores of steps become the score of a path."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Aggregate = Literal["last", "min", "mean", "product"]


@dataclass(frozen=True, slots=True)
class Score:
    """The verifier's two answers at the end of a step, both probabilities.

    `correct`: this step holds no error, if none before it does; it locates the first wrong step.
    Over all steps so far its product is the probability that none holds one.
    `value`: the path will end in the right answer (StepCo's PSV); it chooses and stops.
    A verifier with one readout gives one number for both.
    """

    correct: float
    value: float


EVEN = Score(0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Chain:
    """A question and the steps of one path that answers it.

    `known`: scores of its first steps from an earlier call; a verifier need not read those again.
    `certainties`: how probable the policy found the numbers in each step, where that is known.
    `session`: the same for all chains of a solve; a verifier of several replicas keeps them on one.
    `salt`: what was cached for chains of another is not used.
    `until`: when nobody waits for it any more, by the monotonic clock; of use to a verifier that is
    elsewhere, since here the call is cancelled then.
    """

    question: str
    steps: tuple[str, ...]
    known: tuple[Score, ...] = ()
    certainties: tuple[float | None, ...] = ()
    session: str = ""
    salt: str = ""
    until: float = math.inf

    def certainty(self, steps: int) -> float | None:
        """Of its first so many steps: the mean over those where it is known."""
        known = [each for each in self.certainties[:steps] if each is not None]
        return math.fsum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens of the verifier that had to be computed, and calls of its model."""

    tokens: int = 0
    calls: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.calls + other.calls)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score for every step of a chain, in order, and what they cost.

    `cut`: the chain is longer than the verifier can read; the scores are of its first steps alone.
    """

    scores: tuple[Score, ...]
    cost: Cost = Cost()
    cut: bool = False


Meter = Callable[[Cost], None]
"""Hears what a call spends as it is spent, so that one that is cancelled or fails is paid for."""


def unmetered(_: Cost) -> None:
    """Nobody counts."""


class VerifierError(Exception):
    """The verifier does not answer, or answers nonsense; the message is one sentence."""


class PathTooLong(VerifierError):
    """A path has more tokens than the model can read: nothing is wrong with the verifier."""


class Verifier(Protocol):
    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        """One verdict a chain, in order; what the meter hears adds up to their costs.

        Raises `VerifierError`.
        """
        ...


class VerifierBackend(Verifier, Protocol):
    """What a process runs: a verifier that can also be measured, checked and closed."""

    name: str

    threshold: Score
    """What a step's `correct` and a path's `value` must reach, where a request does not say."""

    aggregate: Aggregate
    """How a path's value is best made of those of its steps, where a request does not say."""

    heeds: bool
    """Whether it heeds `Chain.certainties`."""

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        """The most tokens that scoring each chain can come to."""
        ...

    async def check(self) -> None:
        """Return if the verifier answers; raise `VerifierError` if not."""
        ...

    async def close(self) -> None: ...


def checked(chains: Sequence[Chain], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, if each chain has one with a pair of probabilities a step that was read.

    Raises `VerifierError` if not.
    """
    if len(chains) != len(verdicts):
        raise VerifierError(f"the verifier gave {len(verdicts)} verdicts on {len(chains)} paths")
    for chain, verdict in zip(chains, verdicts, strict=True):
        read = len(verdict.scores)
        if read > len(chain.steps) or (read < len(chain.steps) and not verdict.cut):
            raise VerifierError(f"the verifier gave {read} scores for {len(chain.steps)} steps")
        if not all(0 <= p <= 1 for score in verdict.scores for p in (score.correct, score.value)):
            raise VerifierError("the verifier gave a score that is no probability")
    return list(verdicts)


def path_score(values: Sequence[float], aggregate: Aggregate) -> float:
    """One number for a path from its steps' values; 0 for a path of no steps.

    `last` or `mean` suit a verifier that estimates value; `min` and `product` one that judges steps
    (Let's Verify Step by Step, appendix F; Lessons of Developing PRMs, section 3).
    """
    if not values:
        return 0.0
    match aggregate:
        case "last":
            return values[-1]
        case "min":
            return min(values)
        case "mean":
            return math.fsum(values) / len(values)
        case "product":
            return math.prod(values)

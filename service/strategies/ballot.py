"""The answers of all paths seen, and how sure one may be of the one that wins.

A path has one vote; of answers with equal votes the one whose paths have the higher mean values
wins. A weak verifier tells questions apart far better than answers to one question: it is a bad
judge of what most paths agree on, and still breaks a tie better than chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from service.solution import Path, best
from service.strategies.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Ballot:
    """`parties`: the paths of each answer, the winner's first; paths without an answer have none.

    Whose path came first never matters.
    """

    parties: tuple[tuple[Path, ...], ...]

    @classmethod
    async def of(cls, paths: Sequence[Path], attempt: Attempt) -> Ballot:
        voters = sorted((p for p in paths if p.answer is not None), key=_standing, reverse=True)
        groups = await attempt.group(voters)
        pairs = sorted(zip(groups, voters, strict=True), key=lambda pair: pair[0])
        parties = [tuple(path for _, path in each) for _, each in groupby(pairs, lambda p: p[0])]
        return cls(tuple(sorted(parties, key=_strength, reverse=True)))

    @property
    def winner(self) -> Path | None:
        """Of the winning answer's paths the one of the highest mean value."""
        return best(self.parties[0], "mean") if self.parties else None

    @property
    def lead(self) -> int:
        """By how many votes the winner is ahead."""
        votes = [len(party) for party in self.parties] + [0, 0]
        return votes[0] - votes[1]

    @property
    def confidence(self) -> float:
        """How probable it is that the winner is right, so far as values are calibrated.

        The probability that any of its paths is right, each taken at its last value and for itself,
        times the winner's share of all values: agreement adds to it, contradiction takes away.
        """
        values = [[path.score("last") or 0.0 for path in party] for party in self.parties]
        total = math.fsum(value for party in values for value in party)
        if not total:
            return 0.0
        wrong = math.prod(1 - value for value in values[0])
        return (1 - wrong) * math.fsum(values[0]) / total


def _strength(party: tuple[Path, ...]) -> tuple[int, float, str]:
    return len(party), math.fsum(path.score("mean") or 0.0 for path in party), party[0].answer or ""


def _standing(path: Path) -> tuple[float, str, str]:
    """Any order that the paths themselves decide."""
    return path.score("mean") or 0.0, path.answer or "", path.text

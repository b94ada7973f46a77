"""Paths that grow by a step at a time, several at once: what the searches over steps share.

Each search says, after every step, which paths live on, and how often; at the end the living vote.
An engine that takes whole chats, and free text, cannot be written by the step: then whole paths are
sampled, and vote.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from pydantic import Field

from service import events
from service.solution import Path, Solution, best
from service.strategies.attempt import Attempt, Doubt, Fork, Manner
from service.strategies.ballot import Ballot
from service.strategies.base import Samples, Threshold, knobs

Steps = Annotated[int, Field(strict=True, ge=1, le=64, description="Steps of a path at the most.")]
Width = Annotated[
    int, Field(strict=True, ge=1, le=64, description="Next steps that are sampled from one path.")
]

STEP = Manner(step=True)


@knobs
class Search(ABC):
    """Draws first steps, and grows what survives, until all that lives is whole."""

    n: Samples = 8
    max_steps: Steps = 16
    threshold: Threshold = None

    @property
    def first_steps(self) -> int:
        """How many are drawn."""
        return self.n

    @abstractmethod
    def survivors(self, living: Sequence[Path], attempt: Attempt) -> Sequence[Path]:
        """Of the paths there are, those that live on.

        One that grows is written on each time that it is named; one that is whole has a vote each
        time.
        """

    async def solve(self, attempt: Attempt) -> Solution:
        doubt: Doubt = partial(Path.first_weak, threshold=attempt.bar(self.threshold).correct)
        living = await attempt.verify(await attempt.draft(self.first_steps, manner=STEP), doubt)
        if not attempt.stepwise:
            why = "Whole paths were sampled: they cannot be written by the step."
            attempt.tell(events.Warned(why))
        for round in range(1, self.max_steps if attempt.stepwise else 1):
            living = list(self.survivors(living, attempt))
            forks = [Fork(path, len(path.steps)) for path in living if grows(path)]
            if not forks:
                break
            written = await attempt.verify(await attempt.revise(forks, round, manner=STEP), doubt)
            living = [path for path in living if not grows(path)] + written
        return await _elected(living, attempt, doubt)


def grows(path: Path) -> bool:
    """Whether it can be written on: without an answer, not cut, and not at a loss for a step."""
    written = bool(path.steps) and path.steps[-1].round == path.round
    return written and path.answer is None and not path.cut


def value(path: Path) -> float:
    """How probable it is, after its last step, that the path will end right."""
    return path.score("last") or 0.0


async def _elected(living: Sequence[Path], attempt: Attempt, doubt: Doubt) -> Solution:
    ballot = await Ballot.of(living, attempt)
    for path in dict.fromkeys(living):
        attempt.found(path, path.score("mean"))
    chosen = ballot.winner or best(living, "mean")
    return Solution(chosen, doubt(chosen) is None, ballot.confidence, "sampled")

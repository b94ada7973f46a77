"""What the adapter learns from: rollouts, right ones spoiled, gold solutions; split by question.

The held-out questions calibrate it and show what it learned; none of their paths is trained on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from verifier.training.corruption import corruptions
from verifier.training.data import Question, Rollout, fraction, write
from verifier.training.examples import Example, from_gold, from_rollouts

HELD_OUT = "held_out.jsonl"
SHARE = 0.06  # of the questions are held out
GOLD = 0.25  # gold solutions a rollout, and as many corrupted ones
ALIKE = 2  # rollouts that are learned from where all of a question's ended alike


@dataclass(frozen=True, slots=True)
class Curriculum:
    learned: list[Example]
    held_out: list[Example]

    def save(self, run: Path) -> None:
        """Keep the held-out part beside what is trained: `finish` calibrates on it."""
        run.mkdir(parents=True, exist_ok=True)
        write(run / HELD_OUT, self.held_out)


def curriculum(
    rollouts: Sequence[Rollout], questions: Sequence[Question], seed: int = 0
) -> Curriculum:
    """Rollouts, a corruption of each right one, and gold solutions with one of each.

    Gold solutions are those of questions that have no rollout, so that each adds a question. Of a
    question whose rollouts all ended right, or all wrong, a few are learned from: it is the
    difference between paths to one question that teaches a verifier to choose. The held-out part
    is as it was drawn, so that what is calibrated on it holds for what is drawn.
    """
    known = {question.id: question for question in questions}
    rng = random.Random(seed)
    drawn = from_rollouts(rollouts, known)
    tried = {row.question_id for row in rollouts}
    fresh = [q for q in questions if q.id not in tried and q.solution is not None]
    rng.shuffle(fresh)
    gold = from_gold(fresh[: int(GOLD * len(drawn))])
    right = [each for each in drawn if set(each.correct) == {1.0}]
    made = [corruptions(each, rng) for each in [*right, *gold]]
    others = [*gold, *(each for each in made if each is not None)]
    aside = [each for each in [*drawn, *others] if held_out(each.question_id)]
    telling = [each for each in _telling(drawn) if not held_out(each.question_id)]
    return Curriculum(
        learned=[*telling, *(each for each in others if not held_out(each.question_id))],
        held_out=aside,
    )


def _telling(drawn: Sequence[Example]) -> Iterator[Example]:
    """Without most of those whose question's rollouts all ended alike."""
    for _, group in groupby(drawn, key=lambda each: each.question_id):
        paths = list(group)
        alike = len({each.value[-1] for each in paths}) == 1
        yield from paths[:ALIKE] if alike else paths


def held_out(question_id: str) -> bool:
    return fraction(f"held out: {question_id}") < SHARE

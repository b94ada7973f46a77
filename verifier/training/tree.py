"""Chooses prefixes that are worth more rollouts: the branches of the paper's tree.

StepCo (2410.12934) grows a whole tree for each question. Here tokens go where the present verifier
is unsure, or changes its mind from one step to the next. Nothing is sampled here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul, sub

from verifier import steps
from verifier.scoring import Score, Verdict
from verifier.training.data import Question, Rollout

A_PATH = 2  # most prefixes of one


@dataclass(frozen=True, slots=True, order=True)
class Branch:
    worth: float
    question_id: str
    prefix: tuple[str, ...]


def branches(
    rollouts: Sequence[Rollout],
    verdicts: Sequence[Verdict],
    most: int,
) -> list[Question]:
    """At most `most` questions with the steps to go on from.

    A verdict is on all of its rollout's steps. The best branch of each question comes first, then
    the second best of each, and so on; what a rollout was given is not chosen again.
    """
    found: dict[str, set[Branch]] = defaultdict(set)
    known = {row.question_id: _question(row) for row in rollouts}
    for rollout, verdict in zip(rollouts, verdicts, strict=True):
        best = sorted(_of_path(rollout, verdict.scores), reverse=True)[:A_PATH]
        found[rollout.question_id].update(best)
    ranked = [
        (rank, -branch.worth, branch)
        for of_question in found.values()
        for rank, branch in enumerate(sorted(_distinct(of_question), reverse=True))
    ]
    return [
        known[branch.question_id].model_copy(update={"steps": branch.prefix})
        for _, _, branch in sorted(ranked)[:most]
    ]


def _question(rollout: Rollout) -> Question:
    return Question(id=rollout.question_id, question=rollout.question, answer=rollout.gold)


def _of_path(rollout: Rollout, scores: Sequence[Score]) -> Iterator[Branch]:
    """The prefixes that end before the answer."""
    cut = tuple(piece.text for piece in steps.split(rollout.text))
    given = len(steps.split(rollout.begun))
    for length, worth in enumerate(_worths(scores), 1):
        if given < length < len(cut) and "\\boxed" not in cut[length - 1]:
            yield Branch(worth, rollout.question_id, cut[:length])


def _worths(scores: Sequence[Score]) -> list[float]:
    """How much there is to learn behind each step, from 0 to 1."""
    sound = accumulate((score.correct for score in scores), mul)  # P(no step so far holds an error)
    chances = [*zip(sound, (score.value for score in scores), strict=True)]
    worths = [max(1 - abs(2 * p - 1) for p in pair) for pair in chances]
    falls = [max(map(sub, before, after)) for before, after in pairwise(chances)]
    if falls:
        fall = max(falls)
        at = falls.index(fall)
        worths[at : at + 2] = (max(worth, fall) for worth in worths[at : at + 2])
    return worths


def _distinct(branches: Iterable[Branch]) -> Iterable[Branch]:
    """Each prefix once, at the most that it is worth."""
    return {branch.prefix: branch for branch in sorted(branches)}.values()

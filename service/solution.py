"""Paths, their steps, and what a strategy chose: frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from service.engines.base import Usage
from verifier import answers, steps
from verifier.scoring import Aggregate, Chain, Cost, Score, path_score

NOTHING = Usage()
UNCHECKED = Cost()

Place = tuple[int, int]
"""Of a path among those of a solve: its sample and its round."""

StopReason = Literal[
    "accepted",  # StepCo: nothing left to doubt
    "max_rounds",  # StepCo: doubts left after the last revision
    "repeated",  # StepCo, stop="repeated": two answers in a row were equal
    "unchanged",  # StepCo, adaptive: greedy sampling wrote the same path again, as it must
    "open_ended",  # StepCo, adaptive: free text that states no final answer to revise towards
    "agreed",  # adaptive, self-consistency with a confidence: one answer leads the vote
    "confident",  # adaptive: as sure of an answer as was asked for
    "max_paths",  # adaptive: nothing agreed on, and no more paths to be written
    "abstained",  # adaptive: less sure of every answer than was asked for
    "sampled",  # the sampling strategies: all samples drawn
    "token_budget",
    "compute_budget",
    "deadline",
    "shutdown",  # the service had to end
    "too_long",  # more than the policy can read, or of which the verifier reads nothing
    "engine_lost",  # the engine failed behind the first path
    "verifier_lost",  # the verifier failed, and by the settings the majority answers
]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path; `round` is the one that wrote it (0: the draft).

    `certainty`: how probable the policy found the numbers in it, on average; None where there are
    none, or where the engine does not tell.
    """

    text: str
    round: int
    score: Score | None = None
    certainty: float | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """A policy's answer in steps.

    `text` is the assistant's turn as it was written and `starts` the offset of every step's body in
    it, so that a kept prefix is cut from the very characters (and tokens) the engine has cached.
    `usage` is that of the call that wrote the path's last part, in round `round`; `tokens` are
    those of the whole text, a kept prefix counted by its share of characters. `parent` is the path
    whose steps it goes on from. `cut`: a limit ended it. `stopped`: we did, behind a step that
    failed. `checking`: what verifying it while it was written has cost, until that is told of.
    """

    text: str = ""
    steps: tuple[Step, ...] = ()
    starts: tuple[int, ...] = ()
    answer: str | None = None
    usage: Usage = NOTHING
    round: int = 0
    sample: int = 0
    tokens: int = 0
    parent: Place | None = None
    cut: bool = False
    stopped: bool = False
    checking: Cost = UNCHECKED

    @property
    def place(self) -> Place:
        return self.sample, self.round

    @classmethod
    def parse(cls, text: str, *, round: int = 0, sample: int = 0, usage: Usage = NOTHING) -> Path:
        """Split a turn that one call wrote."""
        pieces = steps.split(text)
        return cls(
            text=text,
            steps=tuple(Step(piece.text, round) for piece in pieces),
            starts=tuple(piece.start for piece in pieces),
            answer=answers.extract(text),
            usage=usage,
            round=round,
            sample=sample,
            tokens=usage.completion,
        )

    def resumed(self, kept: int, suffix: str, round: int, usage: Usage) -> Path:
        """This path with its first `kept` steps as they are and `suffix` written behind them."""
        prefix = self.prefix(kept)
        whole = Path.parse(prefix + suffix, round=round, sample=self.sample, usage=usage)
        whole = replace(whole, parent=self.place)
        if not kept:
            return whole
        whole = replace(whole, tokens=self.tokens_of(len(prefix)) + usage.completion)
        fresh = [
            pair for pair in zip(whole.steps, whole.starts, strict=True) if pair[1] >= len(prefix)
        ]
        if not fresh and suffix.strip():
            fresh = [(Step(suffix.strip(), round), len(prefix))]
        return replace(
            whole,
            steps=(*self.steps[:kept], *(step for step, _ in fresh)),
            starts=(*self.starts[:kept], *(start for _, start in fresh)),
        )

    def chain(self, question: str) -> Chain:
        """What a verifier is asked; the kept steps of a revision come with their scores."""
        known = tuple(step.score for step in self.steps if step.score is not None)
        certainties = tuple(step.certainty for step in self.steps)
        return Chain(question, tuple(step.text for step in self.steps), known, certainties)

    def scored(self, scores: Sequence[Score]) -> Path:
        """With these scores of its first steps; the others stay as they are."""
        pairs = zip(self.steps, scores, strict=False)
        read = tuple(replace(step, score=score) for step, score in pairs)
        return replace(self, steps=read + self.steps[len(read) :])

    def certain(self, numbers: Sequence[tuple[int, float]]) -> Path:
        """With the certainty of every step that these are in, by where in the text each ends."""
        steps = list(self.steps)
        for index, start in enumerate(self.starts):
            end = self._end(index)
            if own := [probable for at, probable in numbers if start < at <= end]:
                steps[index] = replace(steps[index], certainty=fmean(own))
        return replace(self, steps=tuple(steps))

    def scored_like(self, other: Path) -> Path:
        """This path with the other's scores of the steps that both begin with."""
        known = []
        for own, its in zip(self.steps, other.steps, strict=False):
            if own.text != its.text or its.score is None:
                break
            known.append(replace(own, score=its.score))
        return replace(self, steps=(*known, *self.steps[len(known) :]))

    def head(self, kept: int) -> Path:
        """Its first `kept` steps, as if it had been written no further."""
        if kept >= len(self.steps):
            return self
        text = self.text[: self._end(kept - 1)] if kept else ""
        return replace(
            self,
            text=text,
            steps=self.steps[:kept],
            starts=self.starts[:kept],
            answer=answers.extract(text),
            tokens=self.tokens_of(len(text)),
        )

    def prefix(self, kept: int) -> str:
        """The turn up to where the body of step number `kept` (from 0) begins.

        Written anew from its first step on, a turn begins as it began.
        """
        if 0 < kept < len(self.starts):
            return self.text[: self.starts[kept]]
        own = steps.label(kept + 1) if self.text.startswith(steps.OPENING) else ""
        return f"{self.text.rstrip()}\n{own}" if kept else own

    def _end(self, index: int) -> int:
        """Where in the text this step ends: before the line on which the next begins."""
        if index + 1 >= len(self.starts):
            return len(self.text)
        line = self.text.rfind("\n", self.starts[index], self.starts[index + 1])
        return self.starts[index + 1] if line < 0 else line

    @property
    def said(self) -> str:
        """What it comes to: the final answer, or all of a text that states none."""
        return self.text.strip() if self.answer is None else self.answer

    def tokens_of(self, characters: int) -> int:
        """What so many of the text's first characters cost."""
        return round(self.tokens * min(1.0, characters / max(1, len(self.text))))

    def correct(self, index: int) -> float | None:
        """The correctness of a step; None where it is unscored or not there."""
        score = self.steps[index].score if index < len(self.steps) else None
        return None if score is None else score.correct

    def weak_step(self, threshold: float, since: int = 0) -> int | None:
        """The first step from `since` on whose correctness is doubted; None if none is."""
        for index in range(since, len(self.steps)):
            correct = self.correct(index)
            if correct is None or correct < threshold:
                return index
        return None

    def first_weak(self, threshold: float, since: int = 0) -> int | None:
        """The first step from `since` on that is in doubt; None if there is no doubt.

        A path without steps or without an answer is never beyond doubt: its last step is weak.
        """
        weak = self.weak_step(threshold, since)
        if weak is not None:
            return weak
        return None if self.steps and self.answer is not None else max(len(self.steps) - 1, since)

    def score(self, aggregate: Aggregate) -> float | None:
        """The path's value; None while any step is unscored."""
        values = [step.score.value for step in self.steps if step.score is not None]
        return path_score(values, aggregate) if len(values) == len(self.steps) else None


def best(paths: Sequence[Path], aggregate: Aggregate) -> Path:
    """The path of the highest value among those with an answer; the earliest of equals."""
    return max(paths, key=lambda path: (path.answer is not None, path.score(aggregate) or 0.0))


@dataclass(frozen=True, slots=True)
class Solution:
    """What a strategy chose, how sure the verifier is of it, and why the strategy ended."""

    path: Path
    verified: bool
    score: float | None
    stop_reason: StopReason

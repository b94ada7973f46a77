"""How good a verifier is, in numbers, as pure functions over arrays; nothing here reads text.

Each takes a weight a row beside its data: how often the row's question was drawn. So `figures`
can give any of them its bootstrap interval. What cannot be said of the rows at hand is nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]
Statistics = Callable[[Floats], Sequence[float] | Floats]

DRAWS = 1_000
BINS = 15
THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Slate:
    """The solutions to one question among which one is chosen.

    `answers` numbers what they answer: alike is equal, -1 is no answer. `scores` holds one number a
    solution for each way to score a path.
    """

    right: Flags
    answers: Numbers
    scores: Mapping[str, Floats]


def figures(statistics: Statistics, questions: Numbers) -> list[Figure | None]:
    """The statistics of all rows; None for one that is nan.

    Their intervals are the percentile bootstrap's over questions, not rows, as the rows of a
    question are alike. `questions` holds each row's, from 0. As many questions get the same draws.
    """
    values = np.array(statistics(np.ones(len(questions))), float)
    known = ~np.isnan(values)
    if not known.any():
        return [None] * len(values)
    count = int(questions.max()) + 1
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    drawn = np.array([statistics(draw[questions].astype(float)) for draw in draws])
    bounds = np.nanquantile(drawn[:, known], [0.025, 0.975], axis=0)
    found = map(Figure, values[known].tolist(), *bounds.tolist())
    return [next(found) if each else None for each in known]


def mean(values: npt.ArrayLike, weights: Floats) -> float:
    return _ratio(np.asarray(values, float) @ weights, weights.sum())


def roc_auc(labels: Floats, scores: Floats, weights: Floats) -> float:
    """P(a right row scores above a wrong one), ties counted half: the area under the ROC curve.

    Ours, as a thousand of scikit-learn's take seconds.
    """
    ranks = np.unique(scores, return_inverse=True)[1]
    right = np.bincount(ranks, weights * labels)
    wrong = np.bincount(ranks, weights * (1 - labels))
    below = wrong.cumsum() - wrong / 2
    return _ratio(right @ below, right.sum() * wrong.sum())


def brier(labels: Floats, scores: Floats, weights: Floats) -> float:
    """The mean squared distance of a probability from what came."""
    return mean((scores - labels) ** 2, weights)


def ece(labels: Floats, scores: Floats, weights: Floats) -> float:
    """Expected calibration error (Naeini et al. 2015) over 15 bins of equal width.

    Each bin's |mean score - share right|, weighted by its rows. Noise only adds to it, and a
    bootstrap's draws hold more noise than the data: the interval leans to the high side.
    """
    said, right, rows = binned(labels, scores, weights)
    return _ratio(np.abs(said - right).sum(), rows.sum())


def binned(labels: Floats, scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """For each bin the sums of its scores, of its labels, and of its weights."""

    def total(column: Floats) -> Floats:
        return np.histogram(scores, BINS, (0.0, 1.0), weights=column)[0]

    return total(weights * scores), total(weights * labels), total(weights)


def first_below(scores: Sequence[float], threshold: float) -> int:
    """The first step that scores below the threshold, from 0; -1 if none does."""
    return next((step for step, score in enumerate(scores) if score < threshold), -1)


def located(paths: Sequence[Sequence[float]], labels: Numbers, threshold: float) -> Flags:
    """For each path whether its first wrong step is found, or that it has none (label -1)."""
    return np.equal([first_below(path, threshold) for path in paths], labels)


def accuracies(hits: Flags, labels: Numbers, weights: Floats) -> tuple[float, float]:
    """The share of hits on paths with a wrong step, and on those without."""
    return mean(hits, weights * (labels >= 0)), mean(hits, weights * (labels < 0))


def f1(on_wrong: float, on_right: float) -> float:
    """ProcessBench's score (2412.06559, section 3): the harmonic mean of the two accuracies."""
    total = on_wrong + on_right
    return 2 * on_wrong * on_right / total if total else 0.0


def best_threshold(paths: Sequence[Sequence[float]], labels: Numbers) -> float:
    """Of 0.01, 0.02, …, 0.99 that of the highest F1; the lowest of equals."""
    once = np.ones(len(labels))
    found = [f1(*accuracies(located(paths, labels, at), labels, once)) for at in THRESHOLDS]
    return float(THRESHOLDS[np.argmax(found)])


def choices(slate: Slate) -> dict[str, float]:
    """For each way to choose, how probable it is that the chosen answer is right.

    "oracle" (pass@n), "random", "majority" vote, and by each score "best_by_…" and the weighted
    vote "vote_by_…" (Math-Shepherd, 2312.08935, section 3.4). Ties are broken by lot; a solution
    without an answer has no vote.
    """
    right, once = slate.right, np.ones(len(slate.right))
    found = {"oracle": float(right.any()), "random": float(right.mean())}
    found["majority"] = voted(slate.answers, once, right)
    found |= {f"best_by_{name}": best(scores, right) for name, scores in slate.scores.items()}
    for name, scores in slate.scores.items():
        found[f"vote_by_{name}"] = voted(slate.answers, scores, right)
    return found


def best(scores: Floats, right: Flags) -> float:
    return float(right[scores == scores.max()].mean())


def voted(answers: Numbers, votes: Floats, right: Flags) -> float:
    voters = answers >= 0
    if not voters.any():
        return 0.0
    numbers = np.unique(answers[voters], return_inverse=True)[1]
    tally = np.bincount(numbers, votes[voters])
    shares = np.bincount(numbers, right[voters]) / np.bincount(numbers)
    return float(shares[np.isclose(tally, tally.max(), rtol=1e-9, atol=0)].mean())


def _ratio(part: SupportsFloat, whole: SupportsFloat) -> float:
    return float(part) / float(whole) if float(whole) else math.nan

"""The records of a run as rows of numbers, and the figures of its arms and of their differences.

Intervals are those of `metrics.figures`: the bootstrap's over questions. Two arms are compared on
the solves that both have. Where there are several sets, what is said of all is the mean of the
sets, as in the paper, whatever their sizes. A solve that failed is a wrong answer of no tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from statistics import fmean

import numpy as np

from bench.solves import Solve, Solved
from verifier.training.metrics import Figure, Floats, Numbers, figures

CUT_SHORT = ("deadline", "shutdown", "engine_lost", "verifier_lost")
"""Ends that are the service's, and no word on the strategy."""
KINDS = ("prompt", "cached", "generated", "verifier", "computed")


@dataclass(frozen=True, slots=True)
class Unit:
    """What several arms have been asked alike: a question with a seed."""

    dataset: str
    question_id: str
    seed: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """A question's, in the mean. `computed`: what of the prompt was not cached, what was generated,
    and the verifier's; `wasted` of the generated were lost in calls that came to nothing.
    """

    prompt: float
    cached: float
    generated: float
    verifier: float
    computed: float
    wasted: float


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """`verified_right`: of the answers that were told as verified, the share that is right.

    `cut_short`: solves that the service ended, with what there was by then.
    """

    arm: str
    asked: Mapping[str, object]
    solves: int
    failed: int
    cut_short: int
    accuracy: Figure | None
    by_set: Mapping[str, Figure | None]
    generated: Figure | None
    computed: Figure | None
    tokens: Tokens
    seconds: float
    verified: int
    verified_right: Figure | None
    stop_reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """`arm` against `other` on the same `units`: points of accuracy, and how many times the tokens
    of the other it took.
    """

    arm: str
    other: str
    units: int
    accuracy: Figure | None
    generated: Figure | None
    computed: Figure | None

    @property
    def clear(self) -> bool:
        """Whether the interval of the accuracy is clear of zero."""
        return self.accuracy is not None and (self.accuracy.low > 0 or self.accuracy.high < 0)


@dataclass(frozen=True)
class Board:
    """Every arm's solves, by what they were asked; the cheapest arm first."""

    arms: Mapping[str, Mapping[Unit, Solve]]

    @classmethod
    def of(cls, solves: Iterable[Solve]) -> Board:
        arms: dict[str, dict[Unit, Solve]] = {}
        for solve in solves:
            unit = Unit(solve.dataset, solve.question_id, solve.seed)
            arms.setdefault(solve.arm, {})[unit] = solve
        return cls({name: arms[name] for name in sorted(arms, key=lambda n: (_dear(arms[n]), n))})

    @cached_property
    def datasets(self) -> list[str]:
        """In the order of their first solves."""
        return list(dict.fromkeys(unit.dataset for arm in self.arms.values() for unit in arm))

    @property
    def solves(self) -> list[Solve]:
        return [solve for arm in self.arms.values() for solve in arm.values()]

    def answered(self, arm: str) -> dict[Unit, Solved]:
        return {u: solve.solution for u, solve in self.arms[arm].items() if solve.solution}

    def common(self, arms: Sequence[str]) -> list[Unit]:
        """What all of the arms have."""
        first, *others = (self.arms[arm] for arm in arms)
        return [unit for unit in first if all(unit in other for other in others)]


def _dear(arm: Mapping[Unit, Solve]) -> float:
    return fmean(s.solution.usage.policy.completion if s.solution else 0 for s in arm.values())


def averaged(units: Sequence[Unit]) -> Callable[[Floats, Floats], Floats]:
    """A mean of the sets' means: of rows (one a unit) with weights, for each column."""
    sets = list(dict.fromkeys(unit.dataset for unit in units))
    member = np.array([[unit.dataset == name for unit in units] for name in sets], float)

    def mean(rows: Floats, weights: Floats) -> Floats:
        weighted = member * weights
        with np.errstate(invalid="ignore"):
            found = (weighted @ rows) / weighted.sum(axis=1)[:, None]
        return np.asarray(np.nanmean(found, axis=0), float)

    return mean


def numbered(units: Sequence[Unit]) -> Numbers:
    """Each unit's question, from 0: those of one question are drawn together."""
    names = [f"{unit.dataset}\n{unit.question_id}" for unit in units]
    return np.unique(names, return_inverse=True)[1]


def measured(board: Board) -> list[ArmFigures]:
    return [_arm(board, name) for name in board.arms]


def differences(board: Board) -> list[Difference]:
    """Of every two arms that have units in common, the dearer against the cheaper."""
    pairs = ((b, a, board.common([a, b])) for a, b in combinations(board.arms, 2))
    return [_difference(board, arm, other, units) for arm, other, units in pairs if units]


def spent(solution: Solved | None) -> dict[str, int]:
    """Tokens by kind."""
    if solution is None:
        return dict.fromkeys(KINDS, 0)
    usage = solution.usage
    return {
        "prompt": usage.policy.prompt,
        "cached": usage.policy.cached,
        "generated": usage.policy.completion,
        "verifier": usage.verifier.tokens,
        "computed": usage.total,
    }


def _row(solve: Solve) -> list[float]:
    tokens = spent(solve.solution)
    return [float(solve.right), tokens["generated"], tokens["computed"]]


def _arm(board: Board, name: str) -> ArmFigures:
    arm = board.arms[name]
    units, solves = list(arm), list(arm.values())
    rows, mean = np.array([_row(solve) for solve in solves], float), averaged(units)
    accuracy, generated, computed = figures(lambda w: mean(rows, w), numbered(units))
    answered = [solve for solve in solves if solve.solution]
    ends = Counter(s.solution.stop_reason for s in answered if s.solution)
    return ArmFigures(
        arm=name,
        asked={k: v for k, v in solves[0].asked.items() if k == "strategy"},
        solves=len(solves),
        failed=len(solves) - len(answered),
        cut_short=sum(ends[end] for end in CUT_SHORT),
        accuracy=accuracy,
        by_set={each: _share(arm, partial(_within, each)) for each in board.datasets},
        generated=generated,
        computed=computed,
        tokens=_tokens(solves, mean),
        seconds=fmean([s.solution.elapsed_ms / 1000 for s in answered if s.solution] or [0.0]),
        verified=sum(s.solution.verified for s in answered if s.solution),
        verified_right=_share(arm, lambda unit: _verified(arm[unit])),
        stop_reasons=dict(ends),
    )


def _within(dataset: str, unit: Unit) -> bool:
    return unit.dataset == dataset


def _verified(solve: Solve) -> bool:
    return solve.solution is not None and solve.solution.verified


def _share(arm: Mapping[Unit, Solve], chosen: Callable[[Unit], bool]) -> Figure | None:
    """How many of the chosen solves are right."""
    units = [unit for unit in arm if chosen(unit)]
    if not units:
        return None
    right = np.array([arm[unit].right for unit in units], float)
    return figures(lambda w: [float(right @ w / w.sum())], numbered(units))[0]


def _tokens(solves: Sequence[Solve], mean: Callable[[Floats, Floats], Floats]) -> Tokens:
    counts = [spent(solve.solution) for solve in solves]
    wasted = [solve.solution.usage.wasted if solve.solution else 0 for solve in solves]
    rows = [[*(c[k] for k in KINDS), w] for c, w in zip(counts, wasted, strict=True)]
    return Tokens(*mean(np.array(rows, float), np.ones(len(solves))).tolist())


def _difference(board: Board, arm: str, other: str, units: Sequence[Unit]) -> Difference:
    one, two = (
        np.array([_row(board.arms[name][u]) for u in units], float) for name in (arm, other)
    )
    mean = averaged(units)

    def compared(weights: Floats) -> list[float]:
        ours, theirs = mean(one, weights), mean(two, weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            times = ours[1:] / theirs[1:]
        return [float(ours[0] - theirs[0]), *times.tolist()]

    return Difference(arm, other, len(units), *figures(compared, numbered(units)))

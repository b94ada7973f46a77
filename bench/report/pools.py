"""Voting and choosing among fewer samples than were drawn: any budget, from one recording.

An arm that sampled n paths of a question holds what every smaller n would have come to, and so a
control for any other arm at that arm's own spending. Two kinds of match are made. "mean": one n for
all questions of a set (a share of them get one more), so that what is spent is equal in the mean;
it is what a caller without that arm could have asked for, and the control that we go by.
"question": on each question what the arm spent there, so that the control is handed the arm's own
judgement of which questions are hard; the stricter one. Samples are taken in random orders; nobody
pays for half a sample, so the last is taken by lot, with the chance that makes the mean come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.arms import Spending
from bench.report.board import Board, Unit, averaged, numbered, spent
from bench.solves import Seen, Solve
from verifier.answers import normal
from verifier.training.metrics import Figure, Flags, Floats, Numbers, figures

ORDERS = 64  # random orders of a question's samples
UNREAD = [0.0]  # the values of a sample that the verifier could not read
Chooser = Literal["vote", "weighted vote", "best", "best last"]
CHOOSERS: tuple[Chooser, ...] = ("vote", "weighted vote", "best", "best last")
By = Literal["mean", "question"]
Control = tuple[Chooser, By, Spending]
MATCHES: tuple[tuple[By, Spending], ...] = (
    ("mean", "generated"),
    ("question", "generated"),
    ("mean", "computed"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """One question's samples: answers as numbers (-1: none), what they are worth, tokens.

    `values`: the mean of the values of a sample's steps; `lasts`: that of the last.
    `prompt` is prefilled once, however many are drawn.
    """

    right: Flags
    answers: Numbers
    values: Floats
    lasts: Floats
    generated: Floats
    verifying: Floats
    prompt: float

    def cost(self, chooser: Chooser, of: Spending) -> Floats:
        """Tokens of each sample."""
        if of == "generated":
            return self.generated
        return self.generated + (0.0 if chooser == "vote" else self.verifying)


@dataclass(frozen=True, slots=True)
class Point:
    """A chooser at `n` samples: tokens a question, and accuracy."""

    n: float
    generated: float
    computed: float
    accuracy: Figure | None


@dataclass(frozen=True, slots=True)
class Matched:
    """`chooser` among the samples of `pool`, at what `arm` spent.

    `short`: units whose samples were all used up before the budget was. `n` is the mean.
    """

    arm: str
    pool: str
    chooser: Chooser
    by: By
    of: Spending
    units: int
    short: int
    n: float
    budget: float
    spent: float
    accuracy: Figure | None
    difference: Figure | None
    """Points of the arm over this control."""


def largest(board: Board) -> str | None:
    """The arm of the most samples that were all verified; it serves as the pool of all others."""
    sizes = {
        arm: np.median([0, *(_samples(solve) for solve in solves.values())])
        for arm, solves in board.arms.items()
    }
    name = max(sizes, key=lambda arm: sizes[arm], default=None)
    return name if name is not None and sizes[name] > 1 else None


def pools(board: Board, arm: str) -> dict[Unit, Pool]:
    return {u: _pool(solve) for u, solve in board.arms[arm].items() if _samples(solve) > 1}


def curve(held: Mapping[Unit, Pool], chooser: Chooser) -> list[Point]:
    """Accuracy at every n up to the most that all questions have."""
    most = min(len(pool.right) for pool in held.values())
    return [_point(held, chooser, n) for n in range(1, most + 1)]


def matched(board: Board, name: str, held: Mapping[Unit, Pool]) -> list[Matched]:
    """Every other arm against each chooser, by each kind of match and of spending."""
    return [
        _matched(board, arm, name, held, (chooser, by, of))
        for arm in board.arms
        if arm != name and set(board.arms[arm]) & set(held)
        for by, of in MATCHES
        for chooser in CHOOSERS
    ]


def drawn(
    pool: Pool, chooser: Chooser, of: Spending, *, n: float | None = None, budget: float = 0.0
) -> tuple[float, float, float]:
    """How probably right, how many tokens (generated or computed), and how many samples.

    Either n samples, one more in a share of the orders, or as many as the budget allows; one at the
    least.
    """
    order = np.argsort(np.random.default_rng(0).random((ORDERS, len(pool.right))), axis=1)
    cost, fixed = pool.cost(chooser, of), pool.prompt if of == "computed" else 0.0
    lots = (np.arange(ORDERS) + 0.5) / ORDERS
    counts = _afforded(cost[order], budget - fixed, lots) if n is None else np.floor(n + lots)
    taken = np.argsort(order, axis=1) < np.clip(counts, 1, len(cost))[:, None]
    tokens = fixed + (taken @ cost).mean()
    return float(_chosen(pool, taken, chooser).mean()), float(tokens), float(taken.sum(1).mean())


def _afforded(costs: Floats, budget: float, lots: Floats) -> Floats:
    """In each order as many as fit, and by lot one more."""
    total = np.cumsum(costs, axis=1)
    whole = (total <= budget).sum(axis=1)
    spent = np.where(whole > 0, total[np.arange(len(lots)), whole - 1], 0.0)
    following = costs[np.arange(len(lots)), np.minimum(whole, costs.shape[1] - 1)]
    return np.asarray(whole + (lots < (budget - spent) / following), float)


def _chosen(pool: Pool, taken: Flags, chooser: Chooser) -> Floats:
    """For each order how probable it is that the answer is right, ties being broken by lot."""
    voting = taken & (pool.answers >= 0)
    if chooser in ("best", "best last"):
        values = np.where(voting, pool.values if chooser == "best" else pool.lasts, -np.inf)
        top = voting & (values == values.max(axis=1, keepdims=True))
        return _share(top @ pool.right, top.sum(axis=1))
    groups = pool.answers[:, None] == np.unique(pool.answers)
    votes = np.ones(len(pool.right)) if chooser == "vote" else pool.values
    tally = (voting * votes) @ groups
    highest = tally.max(axis=1, keepdims=True)
    won = np.isclose(tally, highest, rtol=1e-9, atol=0) & (voting @ groups > 0)
    shares = _share((voting * pool.right) @ groups, voting @ groups)
    return _share((won * shares).sum(axis=1), won.sum(axis=1))


def _share(part: Floats, whole: Numbers) -> Floats:
    return np.asarray(part / np.maximum(whole, 1), float)


def _samples(solve: Solve) -> int:
    """How many samples a solve holds, if they are all that it did, and were verified."""
    if solve.solution is None:
        return 0
    paths = solve.solution.trace.paths
    drawn = all(path.round == 0 for path in paths)
    return len(paths) if drawn and any(map(_values, paths)) else 0


def _values(path: Seen) -> list[float]:
    """None at all, unless every step was scored."""
    values = [step.score.value for step in path.steps if step.score]
    return values if len(values) == len(path.steps) else []


def _pool(solve: Solve) -> Pool:
    assert solve.solution
    paths = solve.solution.trace.paths
    said = [None if path.answer is None else normal(path.answer) for path in paths]
    return Pool(
        right=np.array(solve.paths_right),
        answers=np.array([-1 if answer is None else said.index(answer) for answer in said]),
        values=np.array([np.mean(_values(path) or UNREAD) for path in paths], float),
        lasts=np.array([(_values(path) or UNREAD)[-1] for path in paths], float),
        generated=np.array([path.policy.completion for path in paths], float),
        verifying=np.array([path.verifier.tokens for path in paths], float),
        prompt=float(paths[0].policy.prompt),
    )


def _point(held: Mapping[Unit, Pool], chooser: Chooser, n: int) -> Point:
    units = list(held)
    rows = np.array(
        [
            [
                *drawn(held[unit], chooser, "generated", n=n)[:2],
                drawn(held[unit], chooser, "computed", n=n)[1],
            ]
            for unit in units
        ]
    )
    mean = averaged(units)
    accuracy, *_ = figures(lambda w: mean(rows, w), numbered(units))
    _, generated, computed = mean(rows, np.ones(len(units))).tolist()
    return Point(n, generated, computed, accuracy)


def _matched(
    board: Board, arm: str, name: str, held: Mapping[Unit, Pool], wanted: Control
) -> Matched:
    chooser, by, of = wanted
    solves = board.arms[arm]
    units = [unit for unit in held if unit in solves]
    budgets = np.array([spent(solves[unit].solution)[of] for unit in units], float)
    counts = _constant(units, held, wanted, budgets) if by == "mean" else {}
    found = np.array(
        [
            drawn(held[unit], chooser, of, n=counts.get(unit.dataset), budget=budget)
            for unit, budget in zip(units, budgets, strict=True)
        ]
    )
    right = np.array([solves[unit].right for unit in units], float)
    rows, mean = np.column_stack([found, budgets, right - found[:, 0]]), averaged(units)
    accuracy, *_, difference = figures(lambda w: mean(rows, w), numbered(units))
    _, tokens, n, budget, _ = mean(rows, np.ones(len(units))).tolist()
    short = [bool(n > len(held[u].right) - 0.5) for u, n in zip(units, found[:, 2], strict=True)]
    return Matched(
        arm, name, *wanted, len(units), sum(short), n, budget, tokens, accuracy, difference
    )


def _constant(
    units: Sequence[Unit],
    held: Mapping[Unit, Pool],
    wanted: Control,
    budgets: Floats,
) -> dict[str, float]:
    """For each set the n at which the samples of a question cost what the arm did, in the mean."""
    chooser, _, of = wanted
    found = {}
    for name in dict.fromkeys(unit.dataset for unit in units):
        own = [place for place, unit in enumerate(units) if unit.dataset == name]
        fixed = [held[units[p]].prompt if of == "computed" else 0.0 for p in own]
        each = np.mean([held[units[p]].cost(chooser, of).mean() for p in own])
        found[name] = float(max(1.0, (np.mean(budgets[own]) - np.mean(fixed)) / each))
    return found

"""What an arm did to its drafts, and how far perfect judgement could have taken it.

The draft is the first path that was seen. Ceilings come from recorded paths, so they hold for the
paths that were drawn; that of the locator is an estimate, from the revisions that happened to begin
at the first false equation (`arithmetic`). Errors that are no false equation are not located here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.report.board import Board, Unit, numbered
from bench.solves import Seen, Solve
from verifier.training.arithmetic import equations
from verifier.training.metrics import Figure, Floats, figures

Value = Callable[[Solve], float | None]


@dataclass(frozen=True, slots=True)
class Controls:
    """Shares of solves, unless another whole is named.

    `draft`: the draft is right. `oracle_selector`: a path that was seen is. `oracle_gate`: the
    draft is right, or else the answer is: nothing that is right was touched. `oracle_locator`: the
    draft is right; or, where it holds a false equation, is made right as often as by revisions that
    began at the first; or else the answer is right.
    `broken`: of right drafts, those that ended wrong; `mended`: of wrong drafts, those that ended
    right; `broken_of_all`: of all. `hopeless`: of wrong answers, those without a right path.
    """

    arm: str
    revisions: int
    located: int
    draft: Figure | None
    oracle_selector: Figure | None
    oracle_gate: Figure | None
    oracle_locator: Figure | None
    broken: Figure | None
    broken_of_all: Figure | None
    mended: Figure | None
    hopeless: Figure | None


@dataclass(frozen=True, slots=True)
class Revision:
    """From `step` of a path of `steps`, in `round`; whether the path was right, and is now.

    `error`: the first step of the path before that holds a false equation, if any; from 1.
    """

    unit: Unit
    round: int
    step: int
    steps: int
    before: bool
    after: bool
    error: int | None


def controls(board: Board) -> list[Controls]:
    return [_controls(board, arm) for arm in board.arms]


def revisions(board: Board, arm: str) -> list[Revision]:
    """What each revision of an arm began at and came to."""
    return [
        revision
        for unit, solve in board.arms[arm].items()
        if solve.solution
        for revision in _revisions(unit, solve)
    ]


def false_step(path: Seen) -> int | None:
    """The first step that states an equation which does not hold, from 1."""
    for number, step in enumerate(path.steps, 1):
        if any(equation.holds is False for equation in equations(step.text or "")):
            return number
    return None


def parent(paths: Sequence[Seen], place: int) -> int | None:
    """Which path a path was made from: the last before it that begins with the steps it keeps."""
    path = paths[place]
    if path.round == 0:
        return None
    kept = [step.text for step in path.steps[: path.kept]]
    for before in reversed(range(place)):
        older = paths[before]
        if older.round < path.round and [s.text for s in older.steps[: path.kept]] == kept:
            return before
    return None


def _revisions(unit: Unit, solve: Solve) -> Iterator[Revision]:
    assert solve.solution
    paths = solve.solution.trace.paths
    for place, path in enumerate(paths):
        if (before := parent(paths, place)) is not None:
            older = paths[before]
            rights = solve.paths_right[before], solve.paths_right[place]
            step = path.kept + 1
            yield Revision(unit, path.round, step, len(older.steps), *rights, false_step(older))


def _controls(board: Board, arm: str) -> Controls:
    solves = board.arms[arm]
    made = revisions(board, arm)
    located = [r.after for r in made if not r.before and r.error == r.step]
    rate = sum(located) / len(located) if located else None

    def share(value: Value) -> Figure | None:
        pairs = ((unit, value(solve)) for unit, solve in solves.items())
        rows = [(unit, number) for unit, number in pairs if number is not None]
        return _mean(rows)

    return Controls(
        arm=arm,
        revisions=len(made),
        located=len(located),
        draft=share(_draft),
        oracle_selector=share(lambda s: float(any(s.paths_right))),
        oracle_gate=share(lambda s: max(_draft(s), float(s.right))),
        oracle_locator=None if rate is None else share(partial(_located, rate)),
        broken=share(lambda s: float(not s.right) if _draft(s) else None),
        broken_of_all=share(lambda s: float(_draft(s) > s.right)),
        mended=share(lambda s: None if _draft(s) else float(s.right)),
        hopeless=share(lambda s: None if s.right else float(not any(s.paths_right))),
    )


def _located(rate: float, solve: Solve) -> float:
    """How probably it had ended right, if an error that can be found had been found."""
    if _draft(solve) or not solve.solution or not solve.solution.trace.paths:
        return float(_draft(solve) or solve.right)
    return rate if false_step(solve.solution.trace.paths[0]) else float(solve.right)


def _draft(solve: Solve) -> float:
    return float(solve.paths_right[0]) if solve.paths_right else 0.0


def _mean(rows: Sequence[tuple[Unit, float]]) -> Figure | None:
    if not rows:
        return None
    units, values = [unit for unit, _ in rows], np.array([value for _, value in rows], float)

    def mean(weights: Floats) -> list[float]:
        return [float(values @ weights / weights.sum())]

    return figures(mean, numbered(units))[0]

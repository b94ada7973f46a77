"""Measures a verifier on files of solutions: some with a marked error, some graded rollouts.

What is measured is `metrics`' business, how it is told `report`'s. Which verifier, and with what
calibration, is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import get_args

import numpy as np
from pydantic import BaseModel

from verifier.answers import Grader
from verifier.scoring import Aggregate, Score, path_score
from verifier.training import metrics
from verifier.training.data import DataError, Process, Rollout, read
from verifier.training.metrics import Slate
from verifier.training.report import (
    Choice,
    Evaluation,
    FirstError,
    Marks,
    Paths,
    ProcessReport,
    Quality,
    RolloutReport,
    Selection,
    numbered,
)
from verifier.training.scored import Named, Progress, score

Scores = tuple[Score, ...]


class Fields(BaseModel, frozen=True, extra="allow"):
    """A row of any kind."""


async def evaluate(
    files: Sequence[Path],
    verifier: Named,
    progress: Progress,
    threshold: float = 0.5,
    solutions: int = 8,
    kept: Path | None = None,
) -> Evaluation:
    """Score every path of the files, and say how good the scores are.

    `threshold` is that of `correct` below which a step is wrong; `solutions` are those to a
    question among which one is chosen. With `kept`, scores are kept in that file and taken from it.
    Raises `DataError`, and `VerifierError` from the verifier.
    """
    sets = [_rows(file) for file in files]
    chains = [row.chain for rows in sets for row in rows]
    scored = iter(await score(chains, verifier, kept, progress))
    grader = Grader()
    reports: list[ProcessReport | RolloutReport] = []
    try:
        for file, rows in zip(files, sets, strict=True):
            scores = list(islice(scored, len(rows)))
            if marked := [row for row in rows if isinstance(row, Process)]:
                reports.append(_process(file.name, marked, scores, threshold))
            if graded := [row for row in rows if isinstance(row, Rollout)]:
                reports.append(await _rollouts(file.name, graded, scores, solutions, grader))
    finally:
        grader.close()
    return Evaluation(verifier.name, threshold, tuple(reports))


def _rows(file: Path) -> Sequence[Process | Rollout]:
    first = next(read(file, Fields), None)
    if first is None:
        raise DataError(f"{file} holds no rows.")
    fields = set(first.model_extra or {})
    if {"steps", "label"} <= fields:
        return list(read(file, Process))
    if {"text", "correct"} <= fields:
        return list(read(file, Rollout))
    raise DataError(
        f"{file} holds neither solutions with a marked error (steps, label) "
        "nor graded rollouts (text, correct)."
    )


def _process(
    name: str, rows: list[Process], scores: list[Scores], threshold: float
) -> ProcessReport:
    labels = np.array([row.label for row in rows])
    paths = Paths(tuple(tuple(s.correct for s in path) for path in scores), labels)
    questions = numbered([row.question for row in rows])
    best = metrics.best_threshold(paths.scores, labels)
    marks = Marks.of(
        (row.question, step != row.label, score.correct)
        for row, path in zip(rows, scores, strict=True)
        for step, score in enumerate(path[: row.label + 1] if row.label >= 0 else path)
    )
    return ProcessReport(
        kind="process",
        file=name,
        solutions=len(rows),
        wrong=int((labels >= 0).sum()),
        at_threshold=_first_error(paths, questions, threshold),
        best_on_this_file=_first_error(paths, questions, best),
        correct=Quality.of(marks),
        paths=paths,
    )


def _first_error(paths: Paths, questions: metrics.Numbers, threshold: float) -> FirstError:
    hits = metrics.located(paths.scores, paths.labels, threshold)

    def statistics(weights: metrics.Floats) -> list[float]:
        accuracies = metrics.accuracies(hits, paths.labels, weights)
        return [metrics.f1(*accuracies), *accuracies]

    f1, on_wrong, on_right = metrics.figures(statistics, questions)
    return FirstError(threshold, f1, on_wrong, on_right)


async def _rollouts(
    name: str, rows: list[Rollout], scores: list[Scores], solutions: int, grader: Grader
) -> RolloutReport:
    pairs = list(zip(rows, scores, strict=True))
    value = Marks.of((row.question_id, row.correct, s.value) for row, path in pairs for s in path)
    last = Marks.of((row.question_id, row.correct, path[-1].value) for row, path in pairs if path)
    return RolloutReport(
        kind="rollouts",
        file=name,
        solutions=len(rows),
        right=sum(row.correct for row in rows),
        without_steps=sum(not path for path in scores),
        value=Quality.of(value),
        last_value=Quality.of(last),
        selection=await _selection(pairs, solutions, grader),
    )


async def _selection(
    pairs: list[tuple[Rollout, Scores]], solutions: int, grader: Grader
) -> Selection:
    groups: dict[str, list[tuple[Rollout, Scores]]] = {}
    for pair in pairs:
        groups.setdefault(pair[0].question_id, []).append(pair)
    whole = [group[:solutions] for group in groups.values() if len(group) >= solutions]
    found = [metrics.choices(await _slate(group, grader)) for group in whole]
    return Selection(solutions, len(found), len(groups) - len(found), _choices(found))


def _choices(found: Sequence[dict[str, float]]) -> tuple[Choice, ...]:
    """Each way to choose, from how probably right it is on every question."""
    if not found:
        return ()
    ways = list(found[0])
    right = np.array([list(each.values()) for each in found])
    columns = np.hstack([right, right - right[:, [ways.index("majority")]]])
    told = metrics.figures(lambda w: w @ columns / w.sum(), np.arange(len(found)))
    return tuple(map(Choice, ways, told, told[len(ways) :]))


async def _slate(group: list[tuple[Rollout, Scores]], grader: Grader) -> Slate:
    answered = [row.answer for row, _ in group if row.answer is not None]
    numbers = iter(await grader.group(answered))
    return Slate(
        right=np.array([row.correct for row, _ in group]),
        answers=np.array([-1 if row.answer is None else next(numbers) for row, _ in group]),
        scores={
            f"{by}_{aggregate}": np.array(
                [path_score([getattr(s, by) for s in path], aggregate) for _, path in group]
            )
            for by, aggregate in product(("value", "correct"), get_args(Aggregate))
        },
    )

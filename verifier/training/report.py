"""What an evaluation found: a tree of figures, as one line of JSON and as tables for a reader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from verifier.training.metrics import Figure, Floats, Numbers, brier, ece, figures, roc_auc

if TYPE_CHECKING:
    from rich.table import Table

DRAWN = {"marks", "paths"}  # what plots are made of; left out of the JSON


@dataclass(frozen=True, slots=True)
class Marks:
    """One row a step: how right it is (0 to 1), what the readout said, whose question it is."""

    labels: Floats
    scores: Floats
    questions: Numbers

    @classmethod
    def of(cls, rows: Iterable[tuple[str, float, float]]) -> Marks:
        rows = list(rows)
        labels, scores = (np.array([row[column] for row in rows], float) for column in (1, 2))
        return cls(labels, scores, numbered([row[0] for row in rows]))


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a readout tells right steps from wrong ones, and how far its word can be taken."""

    steps: int
    roc_auc: Figure | None
    brier: Figure | None
    ece: Figure | None
    marks: Marks

    @classmethod
    def of(cls, marks: Marks) -> Quality:
        rows = (marks.labels, marks.scores)
        auc, distance, error = figures(
            lambda weights: [metric(*rows, weights) for metric in (roc_auc, brier, ece)],
            marks.questions,
        )
        return cls(len(marks.labels), auc, distance, error, marks)


@dataclass(frozen=True, slots=True)
class Gain:
    """A readout at held-out steps before it is calibrated and after."""

    before: Quality
    after: Quality


@dataclass(frozen=True, slots=True)
class Paths:
    """`correct` at every step of each path, and its first wrong step (-1: none)."""

    scores: tuple[tuple[float, ...], ...]
    labels: Numbers


@dataclass(frozen=True, slots=True)
class FirstError:
    """ProcessBench's figures at one threshold; `wrong` are the paths that hold an error."""

    threshold: float
    f1: Figure | None
    accuracy_on_wrong: Figure | None
    accuracy_on_right: Figure | None


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """Of a file of solutions with a marked error.

    `best_on_this_file` has the threshold of the highest F1 on these very rows: too kind, unless it
    is used on others. `correct` is judged at the first wrong step and at all before it.
    """

    kind: Literal["process"]
    file: str
    solutions: int
    wrong: int
    at_threshold: FirstError
    best_on_this_file: FirstError
    correct: Quality
    paths: Paths


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to choose among solutions, and how much better it is than the majority's vote."""

    way: str
    accuracy: Figure | None
    over_majority: Figure | None


@dataclass(frozen=True, slots=True)
class Selection:
    """`left_out` counts the questions with fewer than `solutions`; of more, the first are taken."""

    solutions: int
    questions: int
    left_out: int
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """Of a file of graded solutions; `value` is judged at every step and at the last alone.

    What is right is the outcome, at every step alike. A path of no steps has nothing to be judged;
    in the selection it scores 0.
    """

    kind: Literal["rollouts"]
    file: str
    solutions: int
    right: int
    without_steps: int
    value: Quality
    last_value: Quality
    selection: Selection


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Of one verifier on files; `threshold` is that of `at_threshold`."""

    verifier: str
    threshold: float
    files: tuple[ProcessReport | RolloutReport, ...]

    def as_json(self) -> str:
        """One line; a figure that could not be had is null."""
        return json.dumps(asdict(self, dict_factory=_told))


def numbered(names: list[str]) -> Numbers:
    """Equal names as equal numbers, from 0, whatever their order."""
    return np.unique(names, return_inverse=True)[1]


def tables(evaluation: Evaluation) -> list[Table]:
    """One table a file, and one more a file of rollouts, for a terminal."""
    found = []
    for report in evaluation.files:
        if isinstance(report, ProcessReport):
            found.append(_first_errors(report))
        else:
            found += [_outcomes(report), _selection(report)]
    return found


def calibrated(gains: Mapping[str, Gain]) -> Table:
    """What calibrating did to each readout, for a terminal."""
    told = "steps", "ROC-AUC before", "after", "Brier before", "after", "ECE before", "after"
    table = _table("Held-out questions", ("readout", *told))
    for name, gain in gains.items():
        before, after = gain.before, gain.after
        found = before.roc_auc, after.roc_auc, before.brier, after.brier, before.ece, after.ece
        table.add_row(name, str(before.steps), *(_number(figure)[0] for figure in found))
    table.caption = "After: by a scale fitted to the other questions, five parts in turn."
    return table


def _first_errors(report: ProcessReport) -> Table:
    table = _table(
        f"{report.file}: {report.solutions} solutions, {report.wrong} with a wrong step",
        ("asked of `correct`", "found", "95 % interval"),
    )
    for found, note in ((report.at_threshold, ""), (report.best_on_this_file, ", best here")):
        at = f"at threshold {found.threshold:.2f}{note}"
        table.add_row(f"first wrong step found {at}: F1, %", *_percent(found.f1))
        table.add_row("  of solutions with a wrong step, %", *_percent(found.accuracy_on_wrong))
        table.add_row("  of solutions without, %", *_percent(found.accuracy_on_right))
    for row in _qualities(report.correct, "steps"):
        table.add_row(*row)
    return table


def _outcomes(report: RolloutReport) -> Table:
    table = _table(
        f"{report.file}: {report.solutions} solutions, {report.right} right",
        ("asked of `value`", "found", "95 % interval"),
    )
    for row in (*_qualities(report.value, "steps"), *_qualities(report.last_value, "last steps")):
        table.add_row(*row)
    if report.without_steps:
        table.caption = f"{report.without_steps} solutions have no steps."
    return table


def _selection(report: RolloutReport) -> Table:
    found = report.selection
    table = _table(
        f"{report.file}: one of {found.solutions} solutions chosen, {found.questions} questions",
        ("chosen by", "right, %", "95 % interval", "points over majority", "95 % interval"),
    )
    for choice in found.choices:
        name = choice.way.replace("_", " ")
        table.add_row(name, *_percent(choice.accuracy), *_percent(choice.over_majority, "+"))
    table.caption = (
        f"oracle: right if any is; random: any one; best: the highest score; vote: for each answer "
        f"the sum of its scores. {found.left_out} questions with fewer solutions are left out."
    )
    return table


def _qualities(quality: Quality, steps: str) -> Iterator[tuple[str, str, str]]:
    at = f"at {quality.steps} {steps}"
    yield f"right told from wrong {at} (ROC-AUC)", *_number(quality.roc_auc)
    yield "  squared error of the probability (Brier)", *_number(quality.brier)
    yield "  how far off probabilities are (ECE)", *_number(quality.ece)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _percent(found: Figure | None, sign: str = "") -> tuple[str, str]:
    if found is None:
        return "–", ""
    value, low, high = (f"{100 * part:{sign}.1f}" for part in (found.value, found.low, found.high))
    return value, f"{low} to {high}"


def _number(found: Figure | None) -> tuple[str, str]:
    if found is None:
        return "–", ""
    return f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}"


def _told(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {
        name: round(part, 4) if isinstance(part, float) else part
        for name, part in pairs
        if name not in DRAWN
    }

"""Draws an evaluation: calibration, ROC curves, thresholds for process files, choices for rollouts.

Panels for which there are no files are left out. A file has one colour in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verifier.training import metrics
from verifier.training.report import Evaluation, Marks, ProcessReport, RolloutReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
GREY = "#8a8a8a"
WAYS = {
    "random": "any one",
    "majority": "majority",
    "best_by_value_last": "best value",
    "vote_by_value_last": "vote by value",
    "oracle": "oracle",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """What one readout said of one file's steps, and how it is drawn."""

    name: str
    marks: Marks
    colour: str
    line: str


def plot(evaluation: Evaluation, out: Path) -> None:
    """Write a PNG of three panels in a row, or of four in a square."""
    from matplotlib.figure import Figure

    coloured = list(zip(evaluation.files, cycle(COLOURS)))
    process = [(file, colour) for file, colour in coloured if isinstance(file, ProcessReport)]
    rollouts = [(file, colour) for file, colour in coloured if isinstance(file, RolloutReport)]
    curves = [_curve(file, colour) for file, colour in coloured]
    both = bool(process and rollouts)
    with style():
        figure = Figure((9.6, 8.2) if both else (12.6, 4.3), layout="constrained")
        axes = iter(figure.subplots(2, 2).flat if both else figure.subplots(1, 3))
        _calibration(next(axes), curves)
        _roc(next(axes), curves)
        if process:
            _thresholds(next(axes), process, evaluation.threshold)
        if rollouts:
            _choices(next(axes), rollouts)
        figure.suptitle(evaluation.verifier)
        figure.savefig(out, dpi=150)


def style() -> AbstractContextManager[None]:
    from matplotlib import rc_context

    return rc_context(
        {
            "font.size": 11.0,
            "axes.titlesize": 12.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e4e4",
            "lines.linewidth": 1.8,
            "legend.edgecolor": "white",
            "legend.fontsize": 9.0,
            "legend.title_fontsize": 9.0,
        }
    )


def _curve(report: ProcessReport | RolloutReport, colour: str) -> Curve:
    if isinstance(report, ProcessReport):
        return Curve(f"correct, {_name(report)}", report.correct.marks, colour, "-")
    return Curve(f"value, {_name(report)}", report.value.marks, colour, "--")


def _name(report: ProcessReport | RolloutReport) -> str:
    return report.file.partition(".jsonl")[0]


def _calibration(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        once = np.ones(len(curve.marks.labels))
        said, right, rows = metrics.binned(curve.marks.labels, curve.marks.scores, once)
        full = rows > 0
        x, y, area = said[full] / rows[full], right[full] / rows[full], rows[full] / rows.sum()
        axes.plot(x, y, curve.line, color=curve.colour, label=curve.name)
        axes.scatter(x, y, 12 + 200 * area, color=curve.colour, lw=0, clip_on=False, zorder=3)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    _frame(axes, "Calibration (a dot's area: its steps)", "probability said", "share right")
    axes.legend(loc="upper left")


def _roc(axes: Axes, curves: Sequence[Curve]) -> None:
    from sklearn.metrics import roc_curve

    for curve in curves:
        labels, scores = curve.marks.labels, curve.marks.scores
        if len(np.unique(labels)) == 2:
            wrong, right, _ = roc_curve(labels, scores)
            name = f"{curve.name}: {metrics.roc_auc(labels, scores, np.ones(len(labels))):.3f}"
            axes.plot(wrong, right, curve.line, color=curve.colour, label=name, clip_on=False)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    title = "Right steps told from wrong"
    _frame(axes, title, "wrong steps let through", "right steps let through")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(title="area under the curve", loc="lower right")


def _thresholds(axes: Axes, files: Sequence[tuple[ProcessReport, str]], threshold: float) -> None:
    axes.axvline(threshold, color=GREY, linewidth=1, label=f"threshold {threshold:.2f}")
    for report, colour in files:
        for name, found, line in _swept(report, alone=len(files) == 1):
            axes.plot(metrics.THRESHOLDS, found, line, color=colour, label=name, clip_on=False)
    _frame(axes, "First wrong step found", "threshold of correct", "share of solutions")
    axes.legend()


def _swept(report: ProcessReport, alone: bool) -> Iterator[tuple[str, list[float], str]]:
    """F1 at every threshold; for a file that is alone, what it is made of too."""
    scores, labels = report.paths.scores, report.paths.labels
    hits = [metrics.located(scores, labels, threshold) for threshold in metrics.THRESHOLDS]
    found = [metrics.accuracies(each, labels, np.ones(len(labels))) for each in hits]
    yield f"F1, {_name(report)}", [metrics.f1(*pair) for pair in found], "-"
    if alone:
        yield "on those with a wrong step", [on_wrong for on_wrong, _ in found], "--"
        yield "on those without", [on_right for _, on_right in found], ":"


def _choices(axes: Axes, files: Sequence[tuple[RolloutReport, str]]) -> None:
    from matplotlib.ticker import PercentFormatter

    height = 0.8 / len(files)
    for number, (report, colour) in enumerate(files):
        found = {choice.way: choice.accuracy for choice in report.selection.choices}
        for place, way in enumerate(WAYS, start=1):
            if bar := found.get(way):
                y = place - 0.4 + (number + 0.5) * height
                axes.barh(y, bar.value, height * 0.9, color=colour, alpha=0.75)
                axes.plot([bar.low, bar.high], [y, y], color="black", linewidth=1.2)
                axes.text(bar.high + 0.015, y, f"{bar.value:.1%}", va="center")
    title = f"One of {files[0][0].selection.solutions} solutions chosen"
    axes.set(title=title, xlabel="questions answered right", xlim=(0, 1.1))
    axes.set_yticks(range(1, len(WAYS) + 1), list(WAYS.values()))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))

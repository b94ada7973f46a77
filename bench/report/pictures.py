"""Draws what a run came to; an arm has one colour in all pictures, and stands in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.report.board import ArmFigures
from bench.report.controls import Revision
from bench.report.document import Picture
from bench.report.found import Found
from bench.report.pools import Point
from verifier.training import metrics
from verifier.training.plot import COLOURS, GREY, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

LINES = {"vote": "-", "weighted vote": "--", "best": ":", "best last": "-."}
OUTCOMES = {
    "wrong → right": (False, True, "#009E73"),
    "right → right": (True, True, "#bfe3d6"),
    "wrong → wrong": (False, False, "#d0d0d0"),
    "right → wrong": (True, False, "#D55E00"),
}
MARKERS = "osD^v"
ROUNDS_LEAST = 5  # that have room in a picture
STEPS_MOST = 8  # from there on steps are counted together


class Look(NamedTuple):
    """What an arm is known by."""

    colour: str
    marker: str


def pareto(found: Found, folder: Path) -> Picture:
    """Accuracy against tokens generated, and against all that was computed."""
    from matplotlib.figure import Figure

    looks = _looks(found)
    with style():
        figure = Figure((12.4, 5.6), layout="constrained")
        for axes, of in zip(
            figure.subplots(1, 2, sharey=True), ("generated", "computed"), strict=True
        ):
            _curves(axes, found.curves, of)
            for arm in found.arms:
                _dot(axes, arm, of, looks[arm.arm])
            axes.set(xscale="log", xlabel=f"tokens {of} a question", title=f"Tokens {of}")
            _tokens_axis(axes)
        _percent(figure.axes[0])
        figure.axes[0].set_ylabel("questions answered right")
        _legend(figure)
        return Picture.drawn(
            figure, folder / "pareto.png", "Accuracy against tokens, with intervals"
        )


def by_set(found: Found, folder: Path) -> Picture:
    """The same for each set by itself, against the tokens generated."""
    from matplotlib.figure import Figure

    looks, names = _looks(found), found.board.datasets
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with style():
        figure = Figure((3.4 * columns + 0.6, 3.2 * rows + 0.8), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for axes, name in zip(panels, names, strict=False):
            for arm in found.arms:
                if accuracy := arm.by_set.get(name):
                    tokens = _mean_tokens(found, arm.arm, name)
                    _cross(axes, tokens, accuracy, looks[arm.arm], arm.arm)
            axes.set(xscale="log", title=name, xlabel="tokens generated a question")
            _tokens_axis(axes)
            _percent(axes)
        for axes in list(panels):
            axes.set_visible(False)
        _legend(figure)
        return Picture.drawn(figure, folder / "sets.png", "Accuracy against tokens, set by set")


def tokens(found: Found, folder: Path) -> Picture:
    """What a question costs, by kind."""
    from matplotlib.figure import Figure

    kinds = {
        "prompt, computed": ("#56B4E9", [a.tokens.prompt - a.tokens.cached for a in found.arms]),
        "generated": ("#0072B2", [a.tokens.generated for a in found.arms]),
        "verifier": ("#E69F00", [a.tokens.verifier for a in found.arms]),
    }
    with style():
        figure = Figure((9.6, 1.4 + 0.42 * len(found.arms)), layout="constrained")
        axes = figure.subplots()
        left = np.zeros(len(found.arms))
        for name, (colour, numbers) in kinds.items():
            axes.barh([a.arm for a in found.arms], numbers, 0.7, left, color=colour, label=name)
            left += numbers
        for place, total in enumerate(left):
            axes.text(total, place, f" {total:,.0f}", va="center", fontsize=9)
        axes.set(xlabel="tokens a question", title="Tokens computed, by kind")
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=3)
        return Picture.drawn(figure, folder / "tokens.png", "Tokens computed a question, by kind")


def revisions(found: Found, folder: Path) -> Picture:
    """Where revisions began and what they did: by step and by round, a row an arm."""
    from matplotlib.figure import Figure

    arms = found.revisions
    with style():
        figure = Figure((9.6, 2.7 * len(arms) + 0.6), layout="constrained")
        for row, (arm, made) in zip(
            figure.subplots(len(arms), 2, squeeze=False), arms.items(), strict=True
        ):
            steps = [min(revision.step, STEPS_MOST) for revision in made]
            _outcomes(row[0], made, steps, f"{arm}: by the step they began at")
            _outcomes(row[1], made, [r.round for r in made], f"{arm}: by round")
            row[0].set_ylabel("revisions")
            ticks = range(1, STEPS_MOST + 1)
            row[0].set_xticks(ticks, [*map(str, ticks[:-1]), f"{STEPS_MOST}+"])
            row[0].set_xlim(0.4, STEPS_MOST + 0.6)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return Picture.drawn(
            figure, folder / "revisions.png", "Where revisions began, what they did"
        )


def calibration(found: Found, folder: Path) -> Picture:
    """The share right of paths against the `value` that the verifier gave their last step."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure((5.4, 5.2), layout="constrained")
        axes = figure.subplots()
        for each, colour in zip(found.reliability, cycle(COLOURS)):
            marks = each.quality.marks
            said, right, rows = metrics.binned(marks.labels, marks.scores, np.ones(each.paths))
            full = rows > 0
            x, y, area = said[full] / rows[full], right[full] / rows[full], rows[full] / rows.sum()
            axes.plot(x, y, color=colour, label=f"{each.kind} ({each.paths:,})")
            axes.scatter(x, y, 12 + 300 * area, color=colour, lw=0, clip_on=False, zorder=3)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        axes.set(xlim=(0, 1), ylim=(0, 1), title="Calibration (a dot's area: its paths)")
        axes.set(xlabel="value said at the last step", ylabel="share right")
        axes.legend(loc="upper left")
        return Picture.drawn(
            figure, folder / "calibration.png", "Calibration of the verifier's value"
        )


def _curves(axes: Axes, curves: Mapping[str, Sequence[Point]], of: str) -> None:
    for name, points in curves.items():
        x = [getattr(point, of) for point in points]
        known = [(at, p.accuracy) for at, p in zip(x, points, strict=True) if p.accuracy]
        y = [accuracy.value for _, accuracy in known]
        axes.plot(
            [at for at, _ in known], y, LINES[name], color=GREY, linewidth=1.3, zorder=1,
            label=f"{name} of fewer samples",
        )  # fmt: skip


def _dot(axes: Axes, arm: ArmFigures, of: str, look: Look) -> None:
    tokens, accuracy = getattr(arm, of), arm.accuracy
    if tokens and accuracy:
        _cross(axes, tokens, accuracy, look, arm.arm)


def _cross(
    axes: Axes, tokens: metrics.Figure, accuracy: metrics.Figure, look: Look, name: str
) -> None:
    colour, marker = look
    axes.plot([tokens.value] * 2, [accuracy.low, accuracy.high], color=colour, linewidth=1.4)
    axes.plot([tokens.low, tokens.high], [accuracy.value] * 2, color=colour, linewidth=1.4)
    axes.plot(
        tokens.value, accuracy.value, marker, color=colour, markersize=7, label=name, zorder=3
    )


def _mean_tokens(found: Found, arm: str, dataset: str) -> metrics.Figure:
    solves = [s.solution for s in found.board.arms[arm].values() if s.dataset == dataset]
    mean = float(np.mean([s.usage.policy.completion for s in solves if s] or [0]))
    return metrics.Figure(mean, mean, mean)


def _outcomes(axes: Axes, made: Sequence[Revision], places: Sequence[int], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    size = max(places) + 1
    bottom = np.zeros(size)
    for name, (before, after, colour) in OUTCOMES.items():
        own = [
            p for p, r in zip(places, made, strict=True) if (r.before, r.after) == (before, after)
        ]
        counts = np.bincount(own, minlength=size) if own else np.zeros(size)
        axes.bar(range(size), counts, 0.8, bottom, color=colour, label=name)
        bottom += counts
    axes.set_title(title)
    axes.set_xlim(0.4, max(size - 1, ROUNDS_LEAST) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")


def _looks(found: Found) -> dict[str, Look]:
    looks = (Look(colour, marker) for marker in MARKERS for colour in COLOURS)
    return dict(zip((arm.arm for arm in found.arms), cycle(looks)))


def _tokens_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 0.1))


def _legend(figure: Drawing) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if longest > 40 else 4)

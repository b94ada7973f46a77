"""Draws what a load test came to: against what was offered, stage by stage, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from bench.load.figures import Latency, StageFigures
from bench.load.outcomes import Kind
from bench.load.run import Evidence
from bench.report.document import Picture
from verifier.training.plot import COLOURS, GREY, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {
    "answered": "#009E73",
    "cancelled": "#bfe3d6",
    "refused": "#56B4E9",
    "rejected": "#E69F00",
    "failed": "#D55E00",
    "truncated": "#CC79A7",
    "lost": "#000000",
}
BLUE, ORANGE, GREEN = COLOURS[:3]
LINES = ("-", "--", ":")
MARKERS = {"poisson": "o", "bursty": "s"}


def against_load(evidence: Evidence, stages: Sequence[StageFigures], folder: Path) -> Picture:
    """Latency, and answers a second, against the requests offered a second."""
    from matplotlib.figure import Figure

    pairs = zip(evidence.stretches, stages, strict=True)
    open_ones = sorted(
        ((stretch.stage.arrivals, told) for stretch, told in pairs if stretch.stage.open),
        key=lambda pair: pair[1].offered,
    )
    with style():
        figure = Figure((12.4, 5.2), layout="constrained")
        latency, goodput = figure.subplots(1, 2)
        _latencies(latency, open_ones)
        _goodput(goodput, open_ones, evidence)
        if evidence.capacity:
            for axes in (latency, goodput):
                axes.axvline(evidence.capacity, color=GREY, linewidth=1, linestyle=":")
        figure.supxlabel("requests offered a second (dotted: what a full closed loop did)")
        return Picture.drawn(figure, folder / "load.png", "Latency and goodput against load")


def _latencies(axes: Axes, stages: Sequence[tuple[str, StageFigures]]) -> None:
    for name, colour in (("p50", GREEN), ("p90", BLUE), ("p99", ORANGE)):
        _line(axes, stages, "latency", name, colour, f"answer, {name}")
    _line(axes, stages, "first_byte", "p50", GREY, "first byte of a stream, p50")
    axes.set(title="Latency of what is answered", ylabel="seconds", yscale="log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend()


def _line(
    axes: Axes,
    stages: Sequence[tuple[str, StageFigures]],
    of: str,
    quantile: str,
    colour: str,
    label: str,
) -> None:
    found: list[tuple[str, float, Latency]] = [
        (arrivals, told.offered, getattr(told, of))
        for arrivals, told in stages
        if getattr(told, of) is not None
    ]
    steady = [(at, getattr(it, quantile).value) for kind, at, it in found if kind == "poisson"]
    axes.plot([at for at, _ in steady], [value for _, value in steady], color=colour, label=label)
    for kind, at, latency in found:
        value = getattr(latency, quantile)
        axes.plot([at, at], [value.low, value.high], color=colour, linewidth=1)
        axes.plot(at, value.value, MARKERS[kind], color=colour, markersize=5)


def _goodput(axes: Axes, stages: Sequence[tuple[str, StageFigures]], evidence: Evidence) -> None:
    most = max((told.offered for _, told in stages), default=0.0)
    axes.plot([0, most], [0, most], color=GREY, linewidth=1, label="all that is offered")
    named = {"answered": BLUE, "good": GREEN}
    labels = {"answered": "answered", "good": f"within {evidence.plan.good_within:g} s"}
    for name, colour in named.items():
        steady = [(s.offered, getattr(s, name)) for kind, s in stages if kind == "poisson"]
        line = [at for at, _ in steady], [rate for _, rate in steady]
        axes.plot(*line, color=colour, label=labels[name])
        for kind, told in stages:
            axes.plot(told.offered, getattr(told, name), MARKERS[kind], color=colour, markersize=5)
    axes.plot([], [], "s", color=GREY, label="in bursts")
    axes.set(title="Answers a second", ylabel="requests a second", xlim=(0, None), ylim=(0, None))
    axes.legend()


def outcomes(stages: Sequence[StageFigures], folder: Path) -> Picture:
    """What came of the requests of each stage; of all of them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    names = [told.name for told in stages]
    with style():
        figure = Figure((10.4, 1.6 + 0.45 * len(stages)), layout="constrained")
        axes = figure.subplots()
        left = np.zeros(len(stages))
        for kind in get_args(Kind):
            shares = np.array([told.outcomes[kind] / max(1, told.asked) for told in stages])
            axes.barh(names, shares, 0.7, left, color=KINDS[kind], label=kind)
            left += shares
        for place, told in enumerate(stages):
            axes.text(1.005, place, f"{told.asked:,}", va="center", fontsize=9)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set(title="What came of the requests (right: how many)", xlim=(0, 1))
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=len(KINDS))
        return Picture.drawn(figure, folder / "outcomes.png", "What came of the requests")


def budgets(evidence: Evidence, folder: Path) -> Picture:
    """The share of its budget that each answer used: how many used no more than so much."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    used: dict[str, list[float]] = {}
    for each in evidence.outcomes:
        if each.told.generated:
            used.setdefault(each.strategy, []).append(each.told.generated / each.budget)
    with style():
        figure = Figure((7.4, 4.6), layout="constrained")
        axes = figure.subplots()
        looks = product(LINES, COLOURS)
        for (name, shares), (line, colour) in zip(sorted(used.items()), cycle(looks)):
            ordered = np.sort(shares)
            rank = np.arange(1, len(ordered) + 1) / len(ordered)
            label = f"{name} ({len(shares):,})"
            axes.step(ordered, rank, line, where="post", color=colour, label=label)
        axes.axvline(1, color="black", linewidth=1)
        axes.set(xscale="log", title="Budget use", xlabel="tokens generated over the budget")
        axes.set_ylabel("answers that used no more")
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left")
        return Picture.drawn(figure, folder / "budgets.png", "Share of the budget that was used")


def over_time(evidence: Evidence, folder: Path) -> Picture:
    """Requests inside, rejections a second, and memory, as `/metrics` had them each second."""
    from matplotlib.figure import Figure

    seen = evidence.scrapes
    at = [each.at for each in seen]
    waiting = [each.sum("surefoot_queue_depth") for each in seen]
    running = [each.inflight - depth for each, depth in zip(seen, waiting, strict=True)]
    rejected = np.diff([each.sum("surefoot_rejections_total") for each in seen]) / np.diff(at)
    memory = [each.sum("process_resident_memory_bytes") / 1e6 for each in seen]
    with style():
        figure = Figure((12.4, 7.2), layout="constrained")
        inside, turned, held = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
        inside.stackplot(at, running, waiting, colors=(GREEN, "#E69F00"), alpha=0.8)
        inside.legend(["solving", "waiting"], loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        inside.set_ylabel("requests")
        turned.plot(at[1:], rejected, color=ORANGE)
        turned.set_ylabel("rejected a second")
        held.plot(at, memory, color=BLUE)
        held.set(ylabel="memory, MB", xlabel="seconds (grey lines: the stages by their numbers)")
        for axes in (inside, turned, held):
            axes.set_ylim(bottom=0)
            for stretch in evidence.stretches:
                axes.axvline(stretch.began, color=GREY, linewidth=0.8)
        for stretch in evidence.stretches:
            inside.annotate(
                str(stretch.number), (stretch.began, 1.0), (2, 2), color=GREY, va="bottom",
                xycoords=("data", "axes fraction"), textcoords="offset points",
            )  # fmt: skip
        return Picture.drawn(figure, folder / "time.png", "The service, second by second")

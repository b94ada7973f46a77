"""Does a service hold ever more: memory, descriptors, tasks, series, over a long stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.load.run import Evidence
from bench.load.scrapes import Scrape
from bench.load.verdict import Said
from verifier.training.metrics import Figure

FEW = 20  # looks, a second apart, in which no slope is seen
LONG = 600.0  # seconds of a stage in which what grows is no beginning
THINNED = 1500  # samples that a slope is taken of


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth a second, by Theil and Sen, with its 95 % interval; `mean` is the level."""

    of: str
    slope: Figure
    mean: float
    seconds: float

    @property
    def growth(self) -> float:
        """Of the level, over the time that was watched."""
        return self.slope.value * self.seconds / self.mean if self.mean else 0.0

    @property
    def flat(self) -> bool:
        """No growth is shown, or less than a fiftieth of the level."""
        return self.slope.low <= 0 or self.growth < 0.02


def slope(of: str, at: Sequence[float], values: Sequence[float]) -> Slope:
    """Of three samples at the least."""
    from scipy.stats import theilslopes

    value, _, low, high = map(float, theilslopes(values, at, alpha=0.95))
    figure = Figure(value, low, high)
    return Slope(of, figure, float(np.mean(values)), at[-1] - at[0])


def flat(evidence: Evidence) -> Said:
    """Over the longest stage, without its first fifth."""
    found = slopes(evidence)
    if not found:
        return None, f"no stage was watched for {FEW} s"
    told = "; ".join(
        f"{each.of} {3600 * each.slope.value:+,.4g} an hour "
        f"({3600 * each.slope.low:+,.4g} to {3600 * each.slope.high:+,.4g}; {each.growth:+.1%})"
        for each in found
    )
    if found[0].seconds < 0.75 * LONG:
        return None, f"{LONG:g} s are needed, to tell growth from a beginning; {told}"
    return all(each.flat for each in found), told


def slopes(evidence: Evidence) -> list[Slope]:
    """Of memory, descriptors, tasks and series, where there was time enough to tell."""
    longest = max(evidence.stretches, key=lambda each: each.closed - each.began)
    seen = evidence.during(longest)
    seen = seen[len(seen) // 5 :]
    if len(seen) < FEW:
        return []
    seen = seen[:: -(-len(seen) // THINNED)]
    at = [each.at for each in seen]
    return [slope(name, at, values) for name, values in held(seen).items()]


def held(seen: Sequence[Scrape]) -> dict[str, list[float]]:
    """What a service that leaks would hold ever more of."""
    return {
        "memory (MB)": [each.sum("process_resident_memory_bytes") / 1e6 for each in seen],
        "file descriptors": [each.sum("process_open_fds") for each in seen],
        "tasks": [each.sum("surefoot_tasks") for each in seen],
        "series": [float(each.series) for each in seen],
    }

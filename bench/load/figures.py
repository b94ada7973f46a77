"""What a stage came to, in numbers; latencies with intervals, and of what is due behind warm-up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from bench.load.outcomes import Kind, Outcome
from bench.load.run import Evidence
from bench.load.stages import Stretch
from verifier.training.metrics import Figure

QUANTILES = (0.5, 0.9, 0.99)
DRAWS = 200
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds at the quantiles 0.5, 0.9 and 0.99."""

    p50: Figure
    p90: Figure
    p99: Figure

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency | None:
        """With percentile-bootstrap intervals over requests; None of nothing."""
        if not len(seconds):
            return None
        values = np.asarray(seconds)
        drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values)))
        points, draws = np.quantile(values, QUANTILES), np.quantile(drawn, QUANTILES, axis=1)
        low, high = np.quantile(draws, [0.025, 0.975], axis=1)
        return cls(*map(Figure, points.tolist(), low.tolist(), high.tolist()))


@dataclass(frozen=True, slots=True)
class StageFigures:
    """Of one stage. Rates are a second.

    `asked` counts requests, each once, by what came of it last; nothing is left out of it.
    `answered`, `good` and `tokens` are of answers that came while requests were due.
    `late`: the 99th percentile of how much later than due the kit itself sent.
    `waiting`: requests in the service's queue, in the mean and at the most.
    """

    name: str
    offered: float
    load: float | None
    asked: int
    outcomes: Mapping[str, int]
    answered: float
    good: float
    tokens: float
    latency: Latency | None
    first_byte: Latency | None
    first_reasoning: Latency | None
    first_answer: Latency | None
    per_token: Latency | None
    rejected: Latency | None
    late: float
    waiting: tuple[float, float]


def stage(evidence: Evidence, stretch: Stretch) -> StageFigures:
    outcomes = evidence.of(stretch)
    warm = [each for each in outcomes if each.due >= warmup(evidence, stretch)]
    answered = [each for each in warm if each.kind == "answered" and each.valid]
    streams = [each for each in answered if each.streamed]
    seconds = stretch.closed - stretch.began
    told = _ended(outcomes, warmup(evidence, stretch), seconds)
    good = [each for each in told if each.clock.end <= evidence.plan.good_within]
    seconds -= warmup(evidence, stretch)
    waiting = [each.sum("surefoot_queue_depth") for each in evidence.during(stretch)] or [0.0]
    return StageFigures(
        name=stretch.name,
        offered=stretch.rate,
        load=stretch.load,
        asked=len(last(outcomes)),
        outcomes=counted(outcomes),
        answered=len(told) / seconds,
        good=len(good) / seconds,
        tokens=sum(each.told.generated for each in told) / seconds,
        latency=Latency.of([each.clock.end for each in answered]),
        first_byte=Latency.of(firsts(streams, "first_byte")),
        first_reasoning=Latency.of(firsts(streams, "reasoning")),
        first_answer=Latency.of(firsts(streams, "answer")),
        per_token=Latency.of([_per_token(each) for each in streams if each.told.generated > 1]),
        rejected=Latency.of(rejections(warm)),
        late=float(np.quantile([each.clock.sent for each in outcomes], 0.99)) if outcomes else 0.0,
        waiting=(float(np.mean(waiting)), max(waiting)),
    )


def _ended(outcomes: Sequence[Outcome], since: float, until: float) -> list[Outcome]:
    """Answers that came between these seconds of the stage, whenever they were due."""
    return [
        each
        for each in outcomes
        if each.kind == "answered" and each.valid and since <= each.due + each.clock.end < until
    ]


def warmup(evidence: Evidence, stretch: Stretch) -> float:
    """Seconds of the stage that are not told of: never more than a fifth."""
    return min(evidence.plan.warmup, 0.2 * (stretch.closed - stretch.began))


def last(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Of each request its last attempt."""
    return list({(each.stage, each.number): each for each in outcomes}.values())


def counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Requests by what came of their last attempt, of all kinds."""
    found = Counter(each.kind for each in last(outcomes))
    return {kind: found[kind] for kind in get_args(Kind)}


def firsts(streams: Sequence[Outcome], of: str) -> list[float]:
    found = (getattr(each.clock, of) for each in streams)
    return [seconds for seconds in found if seconds is not None]


def rejections(outcomes: Sequence[Outcome]) -> list[float]:
    """Seconds that refusals of one too many took, from when the request was sent.

    Those in the midst of a stream, at the deadline of what has waited, are no refusals at the door.
    """
    at_once = [each for each in outcomes if each.kind == "rejected" and each.status != 200]
    return [each.clock.end - each.clock.sent for each in at_once]


def _per_token(each: Outcome) -> float:
    began = each.clock.reasoning or each.clock.first_byte or each.clock.sent
    return (each.clock.end - began) / (each.told.generated - 1)


def quantile(values: Sequence[float], q: float) -> float:
    return float(np.quantile(values, q))


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 if all have as much, 1/n if one has it all."""
    squares = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0

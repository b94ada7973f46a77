"""Makes of a training run the verifier that ships: calibrated, with its threshold, exported.

Both readouts are calibrated on the run's held-out questions; the policy's certainty is blended into
`value` on rollouts that tell of it, to questions the run never saw. The threshold of `correct` is
that of the highest ProcessBench F1 on the process files given, pooled; that of `value` is even.
Beside the weights go a few held-out paths with the scores that torch read: whatever serves the
adapter must agree with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from verifier.adapter import Adapter
from verifier.calibration import Calibration, Scale, log_odds
from verifier.scoring import Aggregate, Score
from verifier.training import metrics
from verifier.training.calibrate import fit, fit_blend, gain
from verifier.training.curriculum import HELD_OUT
from verifier.training.data import Process, Rollout, read, write
from verifier.training.examples import Example
from verifier.training.export import ship
from verifier.training.metrics import Floats
from verifier.training.report import Gain, Marks
from verifier.training.scored import Progress, score

if TYPE_CHECKING:
    from verifier.training.trained import Trained

SCORES = "scores.jsonl"
GOLDEN = "golden.jsonl"
PATHS = 6  # golden ones
AGGREGATE: Aggregate = "mean"  # of values: the best weight of a vote (docs/verifiers.md)
HUB = "Qwen/Qwen2.5-Coder-0.5B-Instruct"  # where PEFT and vLLM find the base

Mark = tuple[str, float, float]  # as `Marks.of` takes them


class Golden(BaseModel, frozen=True):
    """A path, and for each of its steps `correct` and `value`, calibrated."""

    question: str
    steps: tuple[str, ...]
    scores: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The verifier, and what calibrating did to its readouts on questions it had not seen."""

    adapter: Adapter
    gains: dict[str, Gain]


async def finish(
    run: Path,
    trained: Trained,
    base: str,
    dev: Sequence[Path],
    rollouts: Sequence[Path],
    out: Path,
    progress: Progress,
) -> Finished:
    """Raises `DataError` and `AdapterError`."""
    held_out = list(read(run / HELD_OUT, Example))
    rows = [row for file in dev for row in read(file, Process)]
    drawn = [row for file in rollouts for row in read(file, Rollout)]
    chains = [each.chain for each in held_out] + [row.chain for row in rows]
    chains += [row.chain for row in drawn]
    scored = await score(chains, trained, run / SCORES, progress)
    correct, value = _marks(held_out, scored[: len(held_out)])
    judged, graded = scored[len(held_out) :][: len(rows)], scored[len(held_out) + len(rows) :]
    ends, certainties = _outcomes(drawn, graded)
    blend = fit_blend(_odds(ends), certainties, ends.labels) if len(certainties) else None
    calibration = Calibration(_scale(correct), _scale(value), blend)
    paths = [[calibration(each).correct for each in path] for path in judged]
    threshold = metrics.best_threshold(paths, np.array([row.label for row in rows]))
    adapter = Adapter(out, base, Score(threshold, 0.5), calibration, AGGREGATE)
    ship(run, adapter, HUB)
    write(out / GOLDEN, islice(_golden(held_out, scored, calibration), PATHS))
    gains = {"correct": gain(correct), "value": gain(value)}
    if blend:
        gains["value, blended"] = gain(ends, certainties)
    return Finished(adapter, gains)


def _golden(
    examples: Sequence[Example], scored: Sequence[tuple[Score, ...]], calibration: Calibration
) -> Iterator[Golden]:
    """Rollouts of several steps, each of a question of its own."""
    seen = set[str]()
    for each, path in zip(examples, scored, strict=False):
        if each.source == "rollout" and len(path) > 2 and each.question not in seen:
            seen.add(each.question)
            scores = [calibration(score) for score in path]
            pairs = tuple((round(s.correct, 4), round(s.value, 4)) for s in scores)
            yield Golden(question=each.question, steps=each.steps, scores=pairs)


def _marks(examples: Sequence[Example], scored: Sequence[tuple[Score, ...]]) -> tuple[Marks, Marks]:
    """What `correct` and `value` said, and what was so, at the steps where it is known."""
    correct, value = list[Mark](), list[Mark]()
    for each, path in zip(examples, scored, strict=True):
        for right, ends, said in zip(each.correct, each.value, path, strict=True):
            correct += [] if right is None else [(each.question, right, said.correct)]
            value += [] if ends is None else [(each.question, ends, said.value)]
    return Marks.of(correct), Marks.of(value)


def _outcomes(
    rollouts: Sequence[Rollout], scored: Sequence[tuple[Score, ...]]
) -> tuple[Marks, Floats]:
    """At the steps where the certainty is known: what `value` said, how the path ended, and it."""
    rows, certainties = list[Mark](), list[float]()
    for rollout, path in zip(rollouts, scored, strict=True):
        chain = rollout.chain
        for length, said in enumerate(path, 1):
            certainty = chain.certainty(length)
            if certainty is not None:
                rows.append((rollout.question, float(rollout.correct), said.value))
                certainties.append(certainty)
    return Marks.of(rows), np.array(certainties)


def _scale(marks: Marks) -> Scale:
    return fit(_odds(marks), marks.labels)


def _odds(marks: Marks) -> Floats:
    return np.array([log_odds(said) for said in marks.scores])

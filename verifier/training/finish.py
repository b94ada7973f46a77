"""Makes of a training run the verifier that ships: calibrated, with its threshold, exported.

Both readouts are calibrated on the run's held-out questions. The threshold of `correct` is that of
the highest ProcessBench F1 on the process files given, pooled; that of `value` is even. Beside the
weights go a few held-out paths with the scores that torch read: whatever serves the adapter must
agree with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from verifier.adapter import Adapter
from verifier.calibration import Calibration, Scale, log_odds
from verifier.scoring import Score
from verifier.training import metrics
from verifier.training.calibrate import fit
from verifier.training.curriculum import HELD_OUT
from verifier.training.data import Process, read, write
from verifier.training.examples import Example
from verifier.training.export import ship
from verifier.training.scored import Progress, score

if TYPE_CHECKING:
    from verifier.training.trained import Trained

SCORES = "scores.jsonl"
GOLDEN = "golden.jsonl"
PATHS = 6  # golden ones
HUB = "Qwen/Qwen2.5-Coder-0.5B-Instruct"  # where PEFT and vLLM find the base


class Golden(BaseModel, frozen=True):
    """A path, and for each of its steps `correct` and `value`, calibrated."""

    question: str
    steps: tuple[str, ...]
    scores: tuple[tuple[float, float], ...]


async def finish(
    run: Path, trained: Trained, base: str, dev: Sequence[Path], out: Path, progress: Progress
) -> Adapter:
    """Raises `DataError` and `AdapterError`."""
    held_out = list(read(run / HELD_OUT, Example))
    rows = [row for file in dev for row in read(file, Process)]
    chains = [each.chain for each in held_out] + [row.chain for row in rows]
    scored = await score(chains, trained, run / SCORES, progress)
    calibration = _calibration(held_out, scored[: len(held_out)])
    paths = [[calibration(each).correct for each in path] for path in scored[len(held_out) :]]
    threshold = metrics.best_threshold(paths, np.array([row.label for row in rows]))
    adapter = Adapter(out, base, Score(threshold, 0.5), calibration)
    ship(run, adapter, HUB)
    write(out / GOLDEN, islice(_golden(held_out, scored, calibration), PATHS))
    return adapter


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


def _calibration(examples: Sequence[Example], scored: Sequence[tuple[Score, ...]]) -> Calibration:
    pairs = list(zip(examples, scored, strict=True))
    correct = [
        (given.correct, label)
        for example, path in pairs
        for given, label in zip(path, example.correct, strict=True)
    ]
    value = [
        (given.value, label)
        for example, path in pairs
        for given, label in zip(path, example.value, strict=True)
    ]
    return Calibration(_scale(correct), _scale(value))


def _scale(pairs: Sequence[tuple[float, float | None]]) -> Scale:
    """Of what was said and what was so, where it is known."""
    known = [(log_odds(said), label) for said, label in pairs if label is not None]
    said, labels = np.array(known).T
    return fit(said, labels)

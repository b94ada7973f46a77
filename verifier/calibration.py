"""What a verifier's probabilities are taken through so that 0.5 means 0.5: two numbers a readout.

A value may be blended with how certain the policy was of the numbers it wrote: that costs no token,
and tells paths to one question apart where a readout tells questions apart (as the confidence in
tokens does in Deep Think with Confidence, 2508.15260). Needs nothing but arithmetic, as it runs
where the service does. The numbers are fitted elsewhere (`verifier.training.calibrate`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from verifier.scoring import Score

EDGE = 1e-9  # no probability is taken to be nearer to 0 or 1: a model that says 1 means "very"


def log_odds(p: float) -> float:
    """ln(p / (1 - p)), finite at 0 and 1 too."""
    return 2 * math.atanh(2 * min(max(p, EDGE), 1 - EDGE) - 1)


@dataclass(frozen=True, slots=True)
class Scale:
    """Platt scaling: p becomes sigmoid(slope · log-odds of p + shift) (Platt 1999).

    The slope is 1/T, with T the temperature, and not negative: the order of two scores is kept. A
    slope of 0 says that the readout told nothing; all get one probability, the share that is right.
    """

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, p: float) -> float:
        return (1 + math.tanh((self.slope * log_odds(p) + self.shift) / 2)) / 2


@dataclass(frozen=True, slots=True)
class Blend:
    """sigmoid(slope · log-odds of p + weight · certainty + shift), for a certainty of 0 to 1."""

    slope: float
    weight: float
    shift: float

    def __call__(self, p: float, certainty: float) -> float:
        return Scale(self.slope, self.weight * certainty + self.shift)(p)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scale for each of the two readouts; as it comes, it changes nothing.

    `blend` stands in for the scale of `value` where the policy's certainty is known.
    """

    correct: Scale = Scale()
    value: Scale = Scale()
    blend: Blend | None = None

    def __call__(self, score: Score, certainty: float | None = None) -> Score:
        if self.blend is None or certainty is None:
            return Score(self.correct(score.correct), self.value(score.value))
        return Score(self.correct(score.correct), self.blend(score.value, certainty))

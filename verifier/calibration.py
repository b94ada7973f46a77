"""What a verifier's probabilities are taken through so that 0.5 means 0.5: two numbers a readout.

Needs nothing but arithmetic, as it runs where the service does. The numbers are fitted elsewhere
(`verifier.training.calibrate`).
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
class Calibration:
    """A scale for each of the two readouts; as it comes, it changes nothing."""

    correct: Scale = Scale()
    value: Scale = Scale()

    def __call__(self, score: Score) -> Score:
        return Score(self.correct(score.correct), self.value(score.value))

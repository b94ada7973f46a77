"""Fits the two numbers of a `Scale` to held-out steps, and tells how much better it makes them.

Which steps those are is for others.
"""

from __future__ import annotations

import numpy as np

from verifier.calibration import Scale, log_odds
from verifier.training.metrics import Floats
from verifier.training.report import Gain, Marks, Quality

FOLDS = 5


def fit(odds: Floats, labels: Floats, weights: Floats | None = None) -> Scale:
    """The most likely scale for these log-odds and labels, hard or soft (0 to 1), one a step.

    Labels are smoothed as in Platt (1999), so the scale is finite even where all are alike or the
    odds part them without an error. Where higher odds go with lower labels, the readout is
    worthless: the slope is 0, the best that is not negative, and the shift gives the base rate.
    """
    from sklearn.linear_model import LogisticRegression

    weights = np.ones(len(labels)) if weights is None else weights
    targets = _smoothed(labels, weights)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8)
    model.fit(
        np.concatenate([odds, odds]).reshape(-1, 1),
        np.repeat([1, 0], len(odds)),
        sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    slope, shift = (float(np.ravel(found)[0]) for found in (model.coef_, model.intercept_))
    if slope < 0:
        return Scale(0.0, log_odds(float(np.average(targets, weights=weights))))
    return Scale(slope, shift)


def gain(marks: Marks) -> Gain:
    """Before, and as the scale leaves them that was fitted to the steps of other questions."""
    odds = np.array([log_odds(score) for score in marks.scores])
    crossed = np.zeros(len(odds))
    for fold in range(FOLDS):
        inside = marks.questions % FOLDS == fold
        scale = fit(odds[~inside], marks.labels[~inside])
        crossed[inside] = [scale(score) for score in marks.scores[inside]]
    after = Marks(marks.labels, crossed, marks.questions)
    return Gain(Quality.of(marks), Quality.of(after))


def _smoothed(labels: Floats, weights: Floats) -> Floats:
    right, wrong = weights @ labels, weights @ (1 - labels)
    return labels * (right + 1) / (right + 2) + (1 - labels) / (wrong + 2)

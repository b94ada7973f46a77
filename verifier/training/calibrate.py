"""Fits a `Scale` or a `Blend` to held-out steps, and tells how much better it makes them.

Which steps those are is for others.
"""

from __future__ import annotations

import numpy as np

from verifier.calibration import Blend, Scale, log_odds
from verifier.training.metrics import Floats
from verifier.training.report import Gain, Marks, Quality

FOLDS = 5


def fit(odds: Floats, labels: Floats, weights: Floats | None = None) -> Scale:
    """The most likely scale for these log-odds and labels, hard or soft (0 to 1), one a step.

    Labels are smoothed as in Platt (1999), so the scale is finite even where all are alike or the
    odds part them without an error. Where higher odds go with lower labels, the readout is
    worthless: the slope is 0, the best that is not negative, and the shift gives the base rate.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    targets = _smoothed(labels, weights)
    slope, shift = _likeliest(odds.reshape(-1, 1), targets, weights)
    if slope < 0:
        return Scale(0.0, log_odds(float(np.average(targets, weights=weights))))
    return Scale(slope, shift)


def fit_blend(odds: Floats, certainties: Floats, labels: Floats) -> Blend:
    """The most likely blend, one row a step; a part that would count against it is left out."""
    even = np.ones(len(labels))
    columns = np.column_stack([odds, certainties])
    slope, weight, shift = _likeliest(columns, _smoothed(labels, even), even)
    if weight < 0:
        scale = fit(odds, labels)
        return Blend(scale.slope, 0.0, scale.shift)
    if slope < 0:
        scale = fit(certainties, labels)
        return Blend(0.0, scale.slope, scale.shift)
    return Blend(slope, weight, shift)


def gain(marks: Marks, certainties: Floats | None = None) -> Gain:
    """Before, and as the scale or blend leaves them that was fitted to steps of other questions."""
    odds = np.array([log_odds(score) for score in marks.scores])
    crossed = np.zeros(len(odds))
    for fold in range(FOLDS):
        inside = marks.questions % FOLDS == fold
        learned = odds[~inside], marks.labels[~inside]
        if certainties is None:
            scale = fit(*learned)
            crossed[inside] = [scale(score) for score in marks.scores[inside]]
        else:
            blend = fit_blend(learned[0], certainties[~inside], learned[1])
            pairs = zip(marks.scores[inside], certainties[inside], strict=True)
            crossed[inside] = [blend(*pair) for pair in pairs]
    after = Marks(marks.labels, crossed, marks.questions)
    return Gain(Quality.of(marks), Quality.of(after))


def _likeliest(columns: Floats, targets: Floats, weights: Floats) -> tuple[float, ...]:
    """Logistic regression's coefficients, the constant last."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000)
    model.fit(
        np.concatenate([columns, columns]),
        np.repeat([1, 0], len(columns)),
        sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    return (*map(float, np.ravel(model.coef_)), float(np.ravel(model.intercept_)[0]))


def _smoothed(labels: Floats, weights: Floats) -> Floats:
    right, wrong = weights @ labels, weights @ (1 - labels)
    return labels * (right + 1) / (right + 2) + (1 - labels) / (wrong + 2)

"""The fit finds the scale that made the labels, and is finite whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.calibration import Scale, log_odds
from verifier.training.calibrate import fit, fit_blend
from verifier.training.metrics import Floats, brier

ODDS = np.random.default_rng(0).normal(0, 2, 4_000)


def soft(scale: Scale, odds: Floats = ODDS) -> Floats:
    return 1 / (1 + np.exp(-(scale.slope * odds + scale.shift)))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 2.0), st.floats(-1.5, 1.5))
def test_a_known_scale_is_found_again(slope: float, shift: float) -> None:
    found = fit(ODDS, soft(Scale(slope, shift)))

    assert pytest.approx((slope, shift), abs=0.04) == (found.slope, found.shift)


def test_hard_labels_lead_to_the_same_scale_and_a_smaller_error() -> None:
    labels = (np.random.default_rng(1).random(len(ODDS)) < soft(Scale(0.4, -0.8))).astype(float)

    found = fit(ODDS, labels)
    before, after = soft(Scale()), soft(found)

    assert pytest.approx(0.4, abs=0.1) == found.slope
    assert pytest.approx(-0.8, abs=0.1) == found.shift
    assert brier(labels, after, np.ones_like(ODDS)) < brier(labels, before, np.ones_like(ODDS))


def test_a_weight_counts_as_so_many_rows() -> None:
    odds, labels = np.array([-1.0, 0.0, 2.0]), np.array([0.0, 1.0, 1.0])

    weighted = fit(odds, labels, np.array([1.0, 3.0, 2.0]))
    repeated = fit(odds.repeat([1, 3, 2]), labels.repeat([1, 3, 2]))

    assert pytest.approx(repeated.slope) == weighted.slope
    assert pytest.approx(repeated.shift) == weighted.shift


def test_a_readout_that_is_worse_than_none_gets_slope_0_and_the_base_rate() -> None:
    scale = fit(ODDS, soft(Scale(-1.0, 0.5)))

    assert scale.slope == 0
    assert pytest.approx(float(soft(Scale(-1.0, 0.5)).mean()), abs=0.001) == scale(0.9)


@pytest.mark.parametrize("labels", [np.ones(40), np.zeros(40), np.repeat([0.0, 1.0], 20)])
def test_labels_all_alike_or_parted_without_an_error_give_a_finite_scale(labels: Floats) -> None:
    odds = np.linspace(-4, 4, 40)

    scale = fit(odds, labels)

    assert scale.slope >= 0
    assert all(0.001 < scale(p) < 0.999 for p in (0.1, 0.5, 0.9))
    assert abs(np.mean([scale(1 / (1 + np.exp(-x))) for x in odds]) - labels.mean()) < 0.05


def test_log_odds_of_what_a_verifier_says_are_what_it_is_fitted_on() -> None:
    said = soft(Scale(), ODDS)

    assert np.allclose(ODDS, [log_odds(p) for p in said], atol=1e-6)


def test_a_known_blend_is_found_again() -> None:
    certainties = np.random.default_rng(2).random(len(ODDS))
    labels = 1 / (1 + np.exp(-(0.6 * ODDS + 3.0 * certainties - 2.0)))

    found = fit_blend(ODDS, certainties, labels)

    assert pytest.approx((0.6, 3.0, -2.0), abs=0.05) == (found.slope, found.weight, found.shift)


def test_a_certainty_that_misleads_is_left_out() -> None:
    certainties = np.random.default_rng(2).random(len(ODDS))
    labels = 1 / (1 + np.exp(-(0.6 * ODDS - 3.0 * certainties)))

    found, plain = fit_blend(ODDS, certainties, labels), fit(ODDS, labels)

    assert (found.slope, found.weight, found.shift) == (plain.slope, 0.0, plain.shift)

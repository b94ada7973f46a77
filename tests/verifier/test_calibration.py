"""A scale keeps probabilities probabilities, and their order; as it comes, it keeps them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.calibration import Calibration, Scale, log_odds
from verifier.scoring import Score

probabilities = st.floats(0, 1)
scales = st.builds(Scale, st.floats(0, 1_000), st.floats(-1_000, 1_000))


@given(scales, probabilities)
def test_what_comes_out_is_a_probability(scale: Scale, p: float) -> None:
    assert 0 <= scale(p) <= 1


@given(scales, probabilities, probabilities)
def test_the_order_of_two_scores_is_kept(scale: Scale, p: float, q: float) -> None:
    low, high = sorted((p, q))

    assert scale(low) <= scale(high)


@given(probabilities)
def test_as_it_comes_it_changes_nothing(p: float) -> None:
    assert pytest.approx(p, abs=2e-9) == Scale()(p)


@pytest.mark.parametrize(
    ("scale", "p", "expected"),
    [
        (Scale(2.0, 0.0), 0.75, 0.9),  # odds of 3 to 1, squared
        (Scale(0.5, 0.0), 0.9, 0.75),
        (Scale(1.0, 1.0986122887), 0.5, 0.75),  # ln 3
        (Scale(0.0, 0.0), 1.0, 0.5),
    ],
)
def test_a_slope_raises_the_odds_to_a_power_and_a_shift_multiplies_them(
    scale: Scale, p: float, expected: float
) -> None:
    assert pytest.approx(expected) == scale(p)


def test_log_odds_are_finite_at_the_ends_and_odd_about_the_middle() -> None:
    assert -log_odds(0) == pytest.approx(log_odds(1), rel=1e-6) == pytest.approx(20.72, abs=0.01)
    assert log_odds(0.5) == 0


def test_each_readout_has_its_own_scale() -> None:
    calibration = Calibration(correct=Scale(2.0), value=Scale(0.5))

    scored = calibration(Score(correct=0.75, value=0.9))

    assert pytest.approx((0.9, 0.75)) == (scored.correct, scored.value)

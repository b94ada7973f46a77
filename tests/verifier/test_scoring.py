"""Aggregates, and what no verifier gets away with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.scoring import Aggregate, Chain, Score, Verdict, VerifierError, checked, path_score

CHAIN = Chain("q", ("a", "b"))
SURE = Score(0.9, 0.9)


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("last", 0.5), ("min", 0.4), ("mean", 0.6), ("product", 0.18)]
)
def test_a_paths_score_is_made_of_its_steps(aggregate: Aggregate, expected: float) -> None:
    assert pytest.approx(expected) == path_score([0.9, 0.4, 0.5], aggregate)


@given(st.lists(st.floats(0, 1), min_size=1), st.sampled_from(["last", "min", "mean", "product"]))
def test_a_paths_score_is_a_probability(values: list[float], aggregate: Aggregate) -> None:
    assert 0 <= path_score(values, aggregate) <= 1 + 1e-12


def test_a_path_of_no_steps_scores_nothing() -> None:
    assert path_score([], "product") == 0


@pytest.mark.parametrize(
    "verdicts",
    [
        [],
        [Verdict((SURE,))],
        [Verdict((SURE, SURE, SURE))],
        [Verdict((SURE, SURE, SURE), cut=True)],
        [Verdict((SURE, Score(math.nan, 0.5)))],
        [Verdict((SURE, Score(0.5, 1.5)))],
        [Verdict((SURE, SURE)), Verdict((SURE, SURE))],
    ],
)
def test_miscounts_and_what_is_no_probability_are_refused(verdicts: list[Verdict]) -> None:
    with pytest.raises(VerifierError):
        checked([CHAIN], verdicts)


@pytest.mark.parametrize("verdict", [Verdict((SURE, SURE)), Verdict((SURE,), cut=True)])
def test_one_probability_pair_a_step_that_was_read_is_let_through(verdict: Verdict) -> None:
    assert [verdict] == checked([CHAIN], [verdict])

"""Figures against values by hand, by enumeration, and by scikit-learn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from verifier.training.metrics import (
    Figure,
    Floats,
    Slate,
    accuracies,
    best_threshold,
    brier,
    choices,
    ece,
    f1,
    figures,
    first_below,
    located,
    mean,
    roc_auc,
)

rows = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.integers(0, 3)),
    min_size=2,
    max_size=12,
)
Rows = list[tuple[bool, float, int]]


def columns(rows: Rows) -> tuple[Floats, Floats, Floats]:
    labels, scores, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    return labels, scores, weights


def test_auc_counts_a_tie_as_half() -> None:
    """Of four pairs three are in order, and one is tied."""
    labels, scores = np.array([0.0, 1, 0, 1]), np.array([0.5, 0.5, 0.2, 0.9])

    assert 0.875 == roc_auc(labels, scores, np.ones(4))


@settings(deadline=None)
@given(rows)
def test_auc_is_scikit_learns_with_ties_and_weights(rows: Rows) -> None:
    labels, scores, weights = columns(rows)
    ours = roc_auc(labels, scores, weights)
    right, wrong = weights @ labels, weights @ (1 - labels)

    if right and wrong:
        assert pytest.approx(roc_auc_score(labels, scores, sample_weight=weights)) == ours
    else:
        assert math.isnan(ours)


@settings(deadline=None)
@given(rows, st.randoms())
def test_the_order_of_rows_changes_nothing(rows: Rows, random: Random) -> None:
    shuffled = random.sample(rows, len(rows))

    for metric in (roc_auc, brier, ece):
        expected = metric(*columns(rows))
        assert pytest.approx(expected, nan_ok=True) == metric(*columns(shuffled))


@settings(deadline=None)
@given(rows)
def test_a_weight_counts_as_so_many_rows(rows: Rows) -> None:
    labels, scores, weights = columns(rows)
    times = weights.astype(int)

    for metric in (roc_auc, brier, ece):
        repeated = metric(labels.repeat(times), scores.repeat(times), np.ones(times.sum()))
        assert pytest.approx(repeated, nan_ok=True) == metric(labels, scores, weights)


def test_brier_is_the_mean_squared_distance() -> None:
    labels, scores = np.array([1.0, 0]), np.array([0.8, 0.4])

    assert pytest.approx((0.04 + 0.16) / 2) == brier(labels, scores, np.ones(2))


def test_ece_weighs_each_bins_distance_by_its_rows() -> None:
    """Said 0.9, right half of the time; said 0.1 and 0.12, in one bin, and never right."""
    labels, scores = np.array([1.0, 0, 0, 0]), np.array([0.9, 0.9, 0.1, 0.12])

    assert pytest.approx(0.5 * 0.4 + 0.5 * 0.11) == ece(labels, scores, np.ones(4))


def test_ece_has_fifteen_bins_and_sure_scores_fall_into_the_outer_ones() -> None:
    """0.93 and 0.94 lie about 14/15: apart, their errors of 0.07 and 0.94 do not cancel."""
    labels, scores = np.array([1.0, 0.0]), np.array([0.93, 0.94])

    assert pytest.approx((0.07 + 0.94) / 2) == ece(labels, scores, np.ones(2))
    assert ece(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.ones(2)) == 0


def test_the_first_step_below_the_threshold_is_the_wrong_one() -> None:
    assert 1 == first_below([0.9, 0.4, 0.1], 0.5)
    assert -1 == first_below([0.9, 0.5], 0.5)
    assert -1 == first_below([], 0.5)


PATHS = [(0.9, 0.2, 0.1), (0.9, 0.6, 0.8), (0.3, 0.9), (0.9, 0.9), (0.8, 0.7), (0.45, 0.9)]
LABELS = np.array([1, 2, 0, -1, -1, -1])


def test_processbench_f1_by_hand() -> None:
    """At 0.5: of three with an error two are located, of three without two pass: F1 2/3."""
    hits = located(PATHS, LABELS, 0.5)

    assert [True, False, True, True, True, False] == hits.tolist()
    assert pytest.approx((2 / 3, 2 / 3)) == accuracies(hits, LABELS, np.ones(6))
    assert pytest.approx(2 / 3) == f1(2 / 3, 2 / 3)


def test_f1_is_the_harmonic_mean_and_0_if_nothing_is_hit() -> None:
    assert pytest.approx(0.48) == f1(0.4, 0.6)
    assert 0 == f1(0.0, 0.0)


def test_the_best_threshold_is_the_lowest_of_those_with_the_highest_f1() -> None:
    """Above 0.3 the third path's error is seen; above 0.45 the last is wronged."""
    assert 0.31 == best_threshold(PATHS, LABELS)


def test_f1_is_unknown_without_both_kinds_of_paths() -> None:
    found = accuracies(np.ones(3, bool), LABELS[:3], np.ones(3))

    assert 1 == found[0]
    assert math.isnan(found[1])
    assert math.isnan(f1(*found))


def slate(answers: Sequence[int], right: set[int], scores: Sequence[float]) -> Slate:
    return Slate(
        np.array([answer in right for answer in answers]),
        np.array(answers),
        {"value": np.array(scores)},
    )


slates = st.lists(
    st.tuples(st.integers(-1, 3), st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0])),
    min_size=1,
    max_size=5,
)


def voted_in_order(answers: Sequence[int], right: set[int]) -> bool:
    """The most frequent answer, of equals that which came first."""
    votes = Counter(answer for answer in answers if answer >= 0)
    return bool(votes) and votes.most_common(1)[0][0] in right


@settings(deadline=None)
@given(slates, st.sets(st.integers(0, 3)))
def test_majority_is_what_voting_in_every_order_comes_to(
    solutions: list[tuple[int, float]], right: set[int]
) -> None:
    answers, scores = zip(*solutions, strict=True)
    orders = list(permutations(answers))

    expected = sum(voted_in_order(order, right) for order in orders) / len(orders)

    assert pytest.approx(expected) == choices(slate(answers, right, scores))["majority"]


@settings(deadline=None)
@given(slates, st.sets(st.integers(0, 3)), st.randoms())
def test_no_choice_beats_the_oracle_and_order_changes_none(
    solutions: list[tuple[int, float]], right: set[int], random: Random
) -> None:
    shuffled = random.sample(solutions, len(solutions))

    found, again = (
        choices(slate([answer for answer, _ in order], right, [score for _, score in order]))
        for order in (solutions, shuffled)
    )

    assert all(0 <= accuracy <= found["oracle"] for accuracy in found.values())
    assert pytest.approx(found) == again


def test_each_way_to_choose_by_hand() -> None:
    """Two votes for a wrong answer, one for the right, one without: the scores decide."""
    found = choices(slate([0, 0, 1, -1], {1}, [0.1, 0.4, 0.6, 0.2]))

    assert {
        "oracle": 1.0,
        "random": 0.25,
        "majority": 0.0,
        "best_by_value": 1.0,
        "vote_by_value": 1.0,
    } == found


def test_equal_scores_are_decided_by_lot() -> None:
    found = choices(slate([0, 1, 2], {1}, [0.5, 0.5, 0.1]))

    assert pytest.approx((0.5, 0.5, 1 / 3)) == (
        found["best_by_value"],
        found["vote_by_value"],
        found["majority"],
    )


def test_a_solution_without_an_answer_may_be_chosen_but_not_voted_for() -> None:
    found = choices(slate([-1, 0], {0}, [0.9, 0.1]))

    assert (0.0, 1.0, 1.0) == (
        found["best_by_value"],
        found["vote_by_value"],
        found["majority"],
    )


def test_an_interval_is_that_of_the_binomial() -> None:
    """300 of 400 right: 0.75 ± 1.96 · sqrt(0.75 · 0.25 / 400)."""
    right = np.repeat([1.0, 0.0], [300, 100])

    (found,) = figures(lambda weights: [mean(right, weights)], np.arange(400))

    assert found is not None
    assert 0.75 == found.value
    assert pytest.approx(0.75 - 0.0424, abs=0.006) == found.low
    assert pytest.approx(0.75 + 0.0424, abs=0.006) == found.high


def test_many_rows_of_one_question_make_no_interval_narrower() -> None:
    right = np.repeat([1.0, 0.0], [30, 10])

    (once,) = figures(lambda weights: [mean(right, weights)], np.arange(40))
    (often,) = figures(lambda weights: [mean(right.repeat(9), weights)], np.arange(40).repeat(9))

    assert once is not None
    assert often is not None
    assert pytest.approx((once.low, once.high)) == (often.low, often.high)


def test_what_cannot_be_said_has_no_figure() -> None:
    none, once = np.array([], int), np.ones(3)

    assert [None] == figures(lambda weights: [mean([], weights)], none)
    assert [None, Figure(1, 1, 1)] == figures(
        lambda weights: [roc_auc(once, once, weights), mean(once, weights)], np.arange(3)
    )

"""Figures of arms and of their differences: paired, by questions, the mean of sets."""

from __future__ import annotations

import pytest
from bench_solving import failed, path, solve

from bench.report.board import Board, differences, measured


def board(**arms: str) -> Board:
    """Arms by whether they are right, a letter a question: r, w."""
    return Board.of(
        solve(arm, number, [path("7" if letter == "r" else "8")])
        for arm, letters in arms.items()
        for number, letter in enumerate(letters)
    )


def test_a_difference_is_paired() -> None:
    """Both arms are right on half of the questions, but for one they are the same questions."""
    (found,) = differences(board(base="rrrrwwwwww", tried="rrrrrwwwww"))

    assert found.accuracy
    assert ("tried", "base", 10) == (found.arm, found.other, found.units)
    assert 0.1 == pytest.approx(found.accuracy.value)
    assert 0 == found.accuracy.low, "no draw of questions makes the new one worse"
    assert not found.clear


def test_only_what_both_arms_have_been_asked_is_compared() -> None:
    (found,) = differences(board(base="rrww", tried="rr"))

    assert found.accuracy
    assert (2, 0.0) == (found.units, found.accuracy.value)


def test_a_loss_that_is_clear_is_told_like_a_win() -> None:
    (found,) = differences(board(base="r" * 20, tried="w" * 20))

    assert found.clear
    assert found.accuracy
    assert -1.0 == found.accuracy.value


def test_sets_count_alike_whatever_their_sizes() -> None:
    right, wrong = [path("7")], [path("8")]
    solves = [solve("arm", n, right) for n in range(8)]
    solves += [solve("arm", n, wrong, dataset="other") for n in range(2)]

    (arm,) = measured(Board.of(solves))

    assert arm.accuracy
    assert arm.by_set["sums"]
    assert (0.5, 1.0) == (arm.accuracy.value, arm.by_set["sums"].value)


def test_seeds_of_one_question_are_one_question_to_the_interval() -> None:
    """Ten seeds of two questions say no more of other questions than two do."""
    answers = {0: "7", 1: "8"}
    many = [solve("arm", q, [path(answers[q])], seed=s) for q in answers for s in range(10)]

    (arm,) = measured(Board.of(many))

    assert arm.accuracy
    assert (0.0, 1.0) == (arm.accuracy.low, arm.accuracy.high)


def test_a_solve_that_failed_is_a_wrong_answer() -> None:
    (arm,) = measured(Board.of([solve("arm", 0, [path("7")]), failed("arm", 1)]))

    assert arm.accuracy
    assert (2, 1, 0.5) == (arm.solves, arm.failed, arm.accuracy.value)


def test_a_solve_that_the_service_ended_is_told_apart() -> None:
    """28 of 83 solves once met a deadline of the service's, and the table said nothing."""
    ends = ["accepted", "deadline", "token_budget", "engine_lost"]
    (arm,) = measured(Board.of(solve("arm", q, [path("7")], end=e) for q, e in enumerate(ends)))

    assert 2 == arm.cut_short
